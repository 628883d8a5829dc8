package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/image/kconfig"
	"kubesolo.io/os/internal/image/kernel"
)

// AuditFile checks the kernel configuration file config against the checkout's list of
// required options.
func AuditFile(repo, config string) ([]kconfig.Finding, error) {
	required, err := requirements(repo)
	if err != nil {
		return nil, err
	}
	return compare(required, config)
}

func requirements(repo string) ([]kconfig.Requirement, error) {
	f, err := os.Open(filepath.Join(repo, "kernel/required.options"))
	if err != nil {
		return nil, fmt.Errorf("%w: it is in the checkout: run this there, or say where it is", err)
	}
	defer func() { _ = f.Close() }() // read only
	required, err := kconfig.ParseRequirements(f)
	if err != nil {
		return nil, fmt.Errorf("kernel/required.options: %w", err)
	}
	return required, nil
}

func compare(required []kconfig.Requirement, config string) ([]kconfig.Finding, error) {
	f, err := os.Open(config)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, kernel.GiveConfig)
	}
	defer func() { _ = f.Close() }() // read only
	options, err := kconfig.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", config, err, kernel.GiveConfig)
	}
	return kconfig.Audit(required, options), nil
}

// audit stops a build whose kernel cannot run a node.
func (b *Builder) audit() error {
	if b.kernel.Config == "" {
		b.warn("kernel %s (%s) was not checked for what a node needs: its configuration is neither in it, nor beside it, nor beside its modules, "+
			"nor in its build tree; give it with KERNEL_CONFIG=FILE to have it checked", b.kernel.Release, b.kernel.Origin)
		return nil
	}
	required, err := requirements(b.c.Repo)
	if err != nil {
		return err
	}
	findings, err := compare(required, b.kernel.Config)
	switch {
	case err != nil && b.c.KernelConfig != "":
		return fmt.Errorf("KERNEL_CONFIG: %w", err)
	case err != nil:
		return fmt.Errorf("configuration of kernel %s: %w, with KERNEL_CONFIG=FILE", b.kernel.Release, err)
	case len(findings) == 0:
		b.say("kernel     %s has what a node needs, by %s", b.kernel.Release, b.kernel.Config)
		return nil
	}
	var table strings.Builder
	if err := kconfig.Write(&table, findings); err != nil {
		return err
	}
	return fmt.Errorf("kernel %s (%s) lacks %d options, by %s; build it with them, or take another with KERNEL_IMAGE= and KERNEL_MODULES=:\n%s",
		b.kernel.Release, b.kernel.Origin, len(findings), b.kernel.Config, table.String())
}
