package main

import (
	"context"
	"fmt"

	"kubesolo.io/os/internal/audit"
)

// audit compares this node with what it promises to be: ksctl audit, with the
// exit statuses of this program.
func (a *agent) audit(context.Context) error {
	failed, err := audit.Print(a.stdout, a.output, audit.Collector{})
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d checks of the node's hardening failed; docs/hardening.md says what each is for", failed)
	}
	return nil
}
