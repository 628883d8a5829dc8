package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// apiText answers with a list of pods.
type apiText string

func (a apiText) Get(_ context.Context, path string, out any) error {
	if a == "" {
		return errors.New("503")
	}
	if path != "/api/v1/namespaces/kube-system/pods" {
		return fmt.Errorf("%s is not asked for", path)
	}
	return json.Unmarshal([]byte(`{"items": [`+string(a)+`]}`), out)
}

// running is a containerd that knows these containers; nil does not tell.
type running []string

func (r running) Running(_ context.Context, ids []string) (bool, error) {
	if r == nil {
		return false, errors.New("no containerd")
	}
	for _, id := range ids {
		if !strings.Contains(" "+strings.Join(r, " ")+" ", " "+id+" ") {
			return false, nil
		}
	}
	return len(ids) > 0, nil
}

func TestSystemPods(t *testing.T) {
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	boot := now.Add(-100 * time.Second)
	pod := func(name, phase, ready, state string, more ...string) string {
		return fmt.Sprintf(`{"metadata": {"name": %q%s}, "status": {"phase": %q, "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": %q}],
			"containerStatuses": [{"containerID": "containerd://id-%[1]s", "state": %[5]s}]}}`, name, strings.Join(more, ""), phase, ready, state)
	}
	since := func(at time.Time) string {
		return fmt.Sprintf(`{"running": {"startedAt": %q}}`, at.Format(time.RFC3339))
	}
	fresh, stale, ahead := since(now.Add(-20*time.Second)), since(boot.Add(-time.Minute)), since(now.Add(24*time.Hour))
	looping := `{"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}`
	good := pod("good", "Running", "True", fresh)
	all := running{"id-good", "id-x"}
	for _, tc := range []struct {
		name    string
		pods    []string
		runtime running
		want    string // of the error, "" for none
	}{
		{"none", nil, all, ""},
		{"all well", []string{good}, all, ""},
		{"its work is done", []string{pod("job", "Succeeded", "False", `{"terminated": {"exitCode": 0}}`), good}, all, ""},
		{"a crash loop, whose phase is Running", []string{good, pod("x", "Running", "False", looping)}, all, "x is not ready: CrashLoopBackOff back-off 40s"},
		{"its probe fails", []string{pod("x", "Running", "False", fresh)}, all, "x is not ready: Running"},
		{"not begun", []string{`{"metadata": {"name": "x"}, "status": {"phase": "Pending"}}`}, all, "x is not ready: Pending"},
		{"not scheduled", []string{`{"metadata": {"name": "x"}, "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False", "message": "no room"}]}}`}, all, "x is not ready: no room"},
		{"failed", []string{pod("x", "Failed", "False", `{"terminated": {}}`, `, "creationTimestamp": "2026-10-01T11:59:00Z"`)}, all, "x is not ready: Failed"},
		{"evicted before the update", []string{`{"metadata": {"name": "x", "creationTimestamp": "2026-10-01T10:00:00Z"}, "status": {"phase": "Failed", "reason": "Evicted"}}`, good}, all, ""},
		{"no condition yet", []string{`{"metadata": {"name": "x"}, "status": {"phase": "Running"}}`}, all, "x is not ready: Running"},
		{"being deleted", []string{pod("x", "Running", "False", fresh, `, "deletionTimestamp": "2026-10-01T11:59:50Z"`), good}, all, ""},
		{"the status of the boot before", []string{pod("y", "Running", "True", stale)}, all, "y is ready only by the status of an earlier boot"},
		{"the same, by its times", []string{pod("x", "Running", "True", stale)}, nil, "earlier boot"},
		{"of a boot whose clock was ahead", []string{pod("x", "Running", "True", ahead)}, nil, "earlier boot"},
		{"by its times", []string{pod("x", "Running", "True", fresh)}, nil, ""},
		{"the clock was set forward after it started", []string{pod("x", "Running", "True", stale)}, all, ""},
		{"without a container", []string{`{"metadata": {"name": "x"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}`}, all, "earlier boot"},
	} {
		err := systemPods(t.Context(), apiText(strings.Join(tc.pods, ",")+" "), tc.runtime, boot, now)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if err := systemPods(t.Context(), apiText(""), all, boot, now); err == nil || err.Error() != "503" {
		t.Errorf("an API that does not answer: %v", err)
	}
}
