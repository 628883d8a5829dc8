package ctl

import (
	"fmt"
	"os"

	"kubesolo.io/os/internal/audit"
)

func (p Program) audit(args []string) int {
	flags := p.flags("audit", "", `Compares the hardening of this node with what it promises: kernel settings, mounts,
rights of the services, listening sockets, modes of files. It changes nothing;
docs/hardening.md says what each check is for. Snapshot is what was looked at.

Examples:
  ksctl audit
  ksctl audit -o json

Exit status: 0 when no check failed, 1 when one did, 2 when this is no node.`)
	form := flags.String("o", "table", "output: table, json or snapshot")
	rest, status, ok := p.parse(flags, args)
	if !ok {
		return status
	}
	if len(rest) > 0 {
		return p.unknown(fmt.Errorf("audit takes no argument %q", rest[0]))
	}
	if _, err := os.Stat(p.RunDir); err != nil {
		return p.unknown(fmt.Errorf("audit works on a node only, and looks at the one it runs on: %w", err))
	}
	failed, err := audit.Print(p.Stdout, *form, audit.Collector{Root: p.Root})
	if err != nil {
		return p.unknown(err)
	}
	return exitIf(failed > 0)
}
