package whole

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/control"
)

// testKsctl asks the node on the node, as its operator does.
func (n *node) testKsctl(t *testing.T) {
	const ksctl = "chroot /host /usr/local/bin/ksctl "
	var s control.Status
	text := n.privileged(t, "ksctl-status", ksctl+"status -o json")
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if s.Phase != control.Ready || s.Ready == "" || s.NodeIP == "" || len(s.Addresses) == 0 || len(s.Services) != 3 || len(s.Problems) > 0 ||
		// No time server is in reach of this machine.
		slices.ContainsFunc(s.Waiting, func(w string) bool { return !strings.HasPrefix(w, "clock ") }) {
		t.Errorf("status is\n%s", text)
	}
	for _, service := range s.Services {
		if service.State != "ready" || service.Pid == 0 {
			t.Errorf("service %+v", service)
		}
	}
	// The administrator's key is what a node must not give away.
	bundle := n.privileged(t, "ksctl-support", ksctl+"support - > /b.tar.gz && tar -tzf /b.tar.gz && tar -xzOf /b.tar.gz > /all && "+
		"grep -c 'ksinit: ' /all; grep -e 'BEGIN.*PRIVATE KEY' -e 'client-key-data: [A-Za-z0-9]' /all; cat /host/dev/vcs1")
	for _, name := range []string{"status.json", "timeline.json", "events.jsonl", "network.json", "dmesg.txt", "logs/kubesolo.log", "logs/containerd.log",
		"system/proc_1_mountinfo", "config/config.json", "version/etc_os-release"} {
		if !strings.Contains(bundle, "kubesolo-support/"+name+"\n") {
			t.Errorf("%s is not in the bundle", name)
		}
	}
	if strings.Contains(bundle, "PRIVATE KEY") || strings.Contains(bundle, "client-key-data") || strings.Contains(bundle, "\n0\n") {
		t.Errorf("a key, or not a line of ksinit, is in the bundle:\n%s", bundle)
	}
	// The status page on the machine's screen, of which the last command
	// printed the characters.
	if !strings.Contains(bundle, "KubeSolo OS ") || !strings.Contains(bundle, "state       ready, ready ") {
		t.Errorf("no status page on the screen, but\n%s", bundle)
	}
}
