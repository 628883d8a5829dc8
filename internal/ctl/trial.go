package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"kubesolo.io/os/internal/control"
)

func (p Program) networkTry(args []string) int {
	flags := p.flags("network try", "FILE", `Puts the network of FILE, which is on the node, in force until the time is over, and
then takes it back, unless ksctl network confirm was said meanwhile: over the new
network, which proves that it works. A restart takes it back, too.

Write the new configuration to /data/cloud-init.yaml, try that file, confirm: it
then stays at the next start. Unconfirmed, the next start uses the former one.

Example: ksctl network try /data/cloud-init.yaml -for 10m`)
	limit := flags.Duration("for", 5*time.Minute, "how long to wait for the confirmation, 10s to 24h")
	rest, status, ok := p.parse(flags, args)
	if !ok {
		return status
	}
	if len(rest) != 1 {
		return p.unknown(errors.New("network try wants one FILE"))
	}
	if *limit < 10*time.Second || *limit > 24*time.Hour {
		return p.unknown(fmt.Errorf("-for %v: it is 10s to 24h", *limit))
	}
	file, err := filepath.Abs(rest[0])
	if err != nil {
		return p.unknown(err)
	}
	return p.trial(control.Request{Verb: control.VerbTry, File: file, Seconds: int(limit.Seconds())},
		fmt.Sprintf("in force for %v: say ksctl network confirm to keep it", *limit))
}

func (p Program) networkEnd(args []string, name, verb, said string) int {
	_, status, ok := p.order(args, "network "+name, "", `Ends the trial that ksctl network try began.`)
	if !ok {
		return status
	}
	return p.trial(control.Request{Verb: verb}, said)
}

func (p Program) trial(r control.Request, said string) int {
	status := p.carryOut(r, func(json.RawMessage) error { return nil })
	if status == exitGood {
		fmt.Fprintln(p.Stdout, said)
	}
	return status
}
