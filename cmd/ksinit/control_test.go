package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/ctl"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/nstest"
)

// ksctl runs a command line as on the node.
func (p *pid1) ksctl(args ...string) (stdout, stderr string, status int) {
	p.t.Helper()
	root := fmt.Sprintf("/proc/%d/root", p.cmd.Process.Pid)
	var out, complaints bytes.Buffer
	program := ctl.Program{Stdout: &out, Stderr: &complaints, RunDir: root + "/run/ksinit", Root: root}
	status = program.Run(args)
	return out.String(), complaints.String(), status
}

// expectStatus waits for an exit status, which is the state of the node.
func (p *pid1) expectStatus(want int, args ...string) string {
	p.t.Helper()
	for range 600 {
		out, complaints, status := p.ksctl(args...)
		if status == want {
			return out
		}
		if complaints != "" {
			p.t.Fatalf("ksctl %v: %s", args, complaints)
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.t.Fatalf("ksctl %v: not %d within half a minute", args, want)
	return ""
}

// An operator at the socket of the real ksinit.
func TestPID1Control(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	p := startPID1(t)
	p.expect(`ok +boot: \d+ steps`, 1)
	p.expectStatus(0, "services")

	// Without an agent nobody has called the node ready.
	var s control.Status
	if err := json.Unmarshal([]byte(p.expectStatus(1, "status", "-o", "json")), &s); err != nil {
		t.Fatal(err)
	}
	if s.Phase != control.Starting || s.Hostname != "kubesolo" || s.Kernel == "" || s.NodeIP == "" || len(s.Services) != 3 ||
		s.Services[1].State != "ready" || s.Services[1].Pid == 0 || s.LastError == nil {
		t.Errorf("status is %+v", s)
	}
	agent, err := event.Dial(fmt.Sprintf("/proc/%d/root/run/ksinit/events.sock", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	agent.Emit(event.Event{Type: event.Health, Name: "coredns", State: "ok"})
	agent.Emit(event.Event{Type: event.Ready, Name: "node", Message: "v1.34.0"})
	if out := p.expectStatus(0, "status"); !strings.Contains(out, "ready, Kubernetes v1.34.0") || !strings.Contains(out, "kubesolo") {
		t.Errorf("status says\n%s", out)
	}

	out, complaints, status := p.ksctl("timeline", "-o", "json")
	var spans []control.Span
	if err := json.Unmarshal([]byte(out), &spans); err != nil || status != 1 || complaints != "" || len(spans) < 20 || spans[0].Name != "filesystems" ||
		spans[len(spans)-1].Name != "node" {
		t.Errorf("timeline: %v, %s, %d, %+v", err, complaints, status, spans)
	}
	// Another network namespace with nothing in it but lo.
	if out, complaints, status := p.ksctl("network"); status != 1 || !strings.Contains(out, "10.40.0.1") || complaints != "" {
		t.Errorf("network: %d, %s\n%s", status, complaints, out)
	}

	out, complaints, status = p.ksctl("restart", "kubesolo")
	if status != 0 || !strings.Contains(out, "kubesolo: SIGTERM to pid") || !strings.Contains(out, "kubesolo: started as pid") {
		t.Errorf("restart: %d, %s\n%s", status, complaints, out)
	}
	p.expect(`ok +service kubesolo: restart asked for`, 1)
	p.expect(`ok +service kubesolo: ready`, 2)
	if _, complaints, status := p.ksctl("restart", "nonsense"); status != 1 || !strings.Contains(complaints, "there are containerd, kubesolo, ksagent") {
		t.Errorf("restart of nothing: %d, %s", status, complaints)
	}

	out, complaints, status = p.ksctl("logs", "kubesolo")
	if status != 0 || strings.Count(out, "kubesolo starts with") != 2 || complaints != "" {
		t.Errorf("logs: %d, %s\n%s", status, complaints, out)
	}
	out, _, _ = p.ksctl("events", "-o", "json")
	if !strings.Contains(out, `"type":"ready"`) || strings.Count(out, "\n") < 30 {
		t.Errorf("events:\n%s", out)
	}
	p.checkBundle()

	if _, complaints, status := p.ksctl("shutdown"); status != 0 {
		t.Errorf("shutdown: %d, %s", status, complaints)
	}
	if got := p.ended(); got != "SIGINT" {
		t.Errorf("ended by %s, want SIGINT: power off", got)
	}
	assertOrder(t, p.text(), "started: power off", "unmount (", "done: power off")
}

func (p *pid1) checkBundle() {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "x")
	if _, complaints, status := p.ksctl("support", file); status != 0 || !strings.Contains(complaints, " kB") {
		p.t.Errorf("support: %d, %s", status, complaints)
	}
	archive, _, _ := p.ksctl("support", "-")
	zip, err := gzip.NewReader(strings.NewReader(archive))
	if err != nil {
		p.t.Fatal(err)
	}
	names := map[string]int64{}
	for in := tar.NewReader(zip); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.t.Fatal(err)
		}
		names[strings.TrimPrefix(h.Name, "kubesolo-support/")] = h.Size
	}
	for _, want := range []string{"status.json", "services.json", "timeline.json", "network.json", "events.jsonl", "logs/kubesolo.log",
		"config/config.json", "system/proc_1_mountinfo", "system/proc_meminfo", "network/proc_1_net_dev", "processes.txt"} {
		if names[want] == 0 {
			p.t.Errorf("%s is empty or not in the bundle: %v", want, names)
		}
	}
}
