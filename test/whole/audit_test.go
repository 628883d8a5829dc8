package whole

import (
	"encoding/json"
	"strings"
	"testing"

	"kubesolo.io/os/internal/audit"
)

// testAudit asks the node itself, as an operator does, whether it is as
// hardened as docs/hardening.md says, and then tries with every right a pod can
// have what no pod may: to restart the machine, to load a module, to read memory.
func (n *node) testAudit(t *testing.T) {
	text := n.privileged(t, "audit", "chroot /host /usr/local/bin/ksctl audit -o json 2> /dev/null; "+
		"reboot -f 2> /dev/null; echo reboot=$?; "+
		"chroot /host /sbin/modprobe -q vxlan 2> /dev/null; echo module=$?; "+
		"chroot /host /sbin/modprobe -q overlay; echo loaded=$?; "+
		"dd if=/dev/mem of=/dev/null bs=1 count=1 2> /dev/null; echo memory=$?")
	var got struct {
		Failed int
		Checks audit.Report
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if len(got.Checks) < len(audit.Checks()) {
		t.Errorf("%d results of %d checks", len(got.Checks), len(audit.Checks()))
	}
	for _, c := range got.Checks.Failed() {
		t.Errorf("%s %s: found %q, want %s: %s", c.Group, c.Name, c.Got, c.Want, c.Reason)
	}
	want := "reboot=1\nmodule=1\nloaded=0\nmemory=1"
	if tried := strings.TrimSpace(text[decoder.InputOffset():]); tried != want {
		t.Errorf("a privileged pod tried, and got\n%s\nwant\n%s", tried, want)
	}
}
