package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"kubesolo.io/os/internal/audit"
)

// TestAudit looks at the machine of the test, which is no node: the checks that
// fail are in the output, counted, and the command has failed.
func TestAudit(t *testing.T) {
	var out bytes.Buffer
	err := command(t.Context(), []string{"audit", "-o", "json"}, &out, io.Discard)
	var got struct {
		Failed int
		Checks audit.Report
	}
	if jsonErr := json.Unmarshal(out.Bytes(), &got); jsonErr != nil {
		t.Fatalf("%v: %s", jsonErr, &out)
	}
	if err == nil || !strings.Contains(err.Error(), "checks of the node's hardening failed") || got.Failed == 0 || len(got.Checks.Failed()) != got.Failed {
		t.Errorf("%d failed, error %v", got.Failed, err)
	}
	out.Reset()
	if err := command(t.Context(), []string{"audit"}, &out, io.Discard); err == nil || !strings.Contains(out.String(), "STATE") {
		t.Errorf("%v: %s", err, &out)
	}
	out.Reset()
	var snapshot audit.Snapshot
	if err := command(t.Context(), []string{"audit", "-o", "snapshot"}, &out, io.Discard); err != nil || json.Unmarshal(out.Bytes(), &snapshot) != nil || len(snapshot.Texts) == 0 {
		t.Errorf("%v: %s", err, &out)
	}
	if err := command(t.Context(), []string{"audit", "-o", "yaml"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "yaml") {
		t.Errorf("-o yaml: %v", err)
	}
}
