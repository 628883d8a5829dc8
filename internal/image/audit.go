package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/image/kconfig"
)

// AuditFile checks the kernel configuration file config against the checkout's list of
// required options.
func AuditFile(repo, config string) ([]kconfig.Finding, error) {
	list, err := os.Open(filepath.Join(repo, "kernel/required.options"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = list.Close() }() // read only
	required, err := kconfig.ParseRequirements(list)
	if err != nil {
		return nil, fmt.Errorf("kernel/required.options: %w", err)
	}
	f, err := os.Open(config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	options, err := kconfig.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config, err)
	}
	return kconfig.Audit(required, options), nil
}

// audit stops a build whose kernel cannot run a node.
func (b *Builder) audit() error {
	if b.kernel.Config == "" {
		b.say("kernel     not audited: no configuration beside %s (give KERNEL_CONFIG=FILE)", b.kernel.Image)
		return nil
	}
	findings, err := AuditFile(b.c.Repo, b.kernel.Config)
	if err != nil {
		return err
	}
	if len(findings) == 0 {
		return nil
	}
	var table strings.Builder
	if err := kconfig.Write(&table, findings); err != nil {
		return err
	}
	return fmt.Errorf("kernel %s (%s) lacks %d options; build it with them, or take another with KERNEL_IMAGE= and KERNEL_MODULES=:\n%s",
		b.kernel.Release, b.kernel.Origin, len(findings), table.String())
}
