package main

import (
	"context"
	"encoding/json"
	"fmt"

	"kubesolo.io/os/internal/audit"
)

// audit compares this node with what it promises to be. A snapshot is what it
// looked at, for a report of a fault or a test: it holds modes of secret files,
// but nothing of what is in them.
func (a *agent) audit(context.Context) error {
	snapshot := audit.Collector{}.Collect()
	report := audit.Evaluate(snapshot)
	print := report.Table
	switch a.output {
	case "table":
	case "json":
		print = report.JSON
	case "snapshot":
		return json.NewEncoder(a.stdout).Encode(snapshot)
	default:
		return fmt.Errorf("output %q: want table, json or snapshot", a.output)
	}
	if err := print(a.stdout); err != nil {
		return err
	}
	if failed := len(report.Failed()); failed > 0 {
		return fmt.Errorf("%d checks of the node's hardening failed; docs/hardening.md says what each is for", failed)
	}
	return nil
}
