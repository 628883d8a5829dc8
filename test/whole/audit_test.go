package whole

import (
	"encoding/json"
	"strings"
	"testing"

	"kubesolo.io/os/internal/audit"
)

// testAudit asks the node itself, as an operator does, whether it is as
// hardened as docs/hardening.md says.
func (n *node) testAudit(t *testing.T) {
	text := n.privileged(t, "audit", "chroot /host /usr/local/bin/ksagent audit -o json 2> /dev/null; true")
	var got struct {
		Failed int
		Checks audit.Report
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&got); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if len(got.Checks) < len(audit.Checks()) {
		t.Errorf("%d results of %d checks", len(got.Checks), len(audit.Checks()))
	}
	for _, c := range got.Checks.Failed() {
		t.Errorf("%s %s: found %q, want %s: %s", c.Group, c.Name, c.Got, c.Want, c.Reason)
	}
}
