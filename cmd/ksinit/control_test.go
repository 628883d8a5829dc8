package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/ctl"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/supervise"
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
	if out := p.expectStatus(0, "status"); !strings.Contains(out, " after the start") || !strings.Contains(out, "kubesolo") {
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
	p.checkTrial()

	out, complaints, status = p.ksctl("restart", "kubesolo")
	if status != 0 || !strings.Contains(out, "kubesolo: SIGTERM to pid") ||
		!strings.Contains(out, "kubesolo: ended: exit status 0") || !strings.Contains(out, "kubesolo: started as pid") {
		t.Errorf("restart: %d, %s\n%s", status, complaints, out)
	}
	p.expect(`ok +service kubesolo: restart asked for`, 1)
	p.expect(`ok +service kubesolo: ready`, 2)
	// What somebody asked for is no failure of the service.
	var list []supervise.Status
	out, _, _ = p.ksctl("services", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 3 || list[1].Starts != 2 || list[1].Failures != 0 {
		t.Errorf("services after the restart: %v\n%s", err, out)
	}
	if text := p.text(); strings.Contains(text, "degraded  service kubesolo") {
		t.Errorf("the restart is a fault on the console:\n%s", text)
	}
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

// checkTrial tries a network over the socket, ends it both ways, and is told
// what is wrong with what cannot be tried.
func (p *pid1) checkTrial() {
	p.t.Helper()
	data := fmt.Sprintf("/proc/%d/root/data/", p.cmd.Process.Pid)
	for name, text := range map[string]string{
		"new.yaml":  "#cloud-config\nnetwork: {version: 2, ethernets: {lan9: {addresses: [192.0.2.9/24], optional: true}}}\n",
		"none.yaml": "#cloud-config\nhostname: x\n", "bad.yaml": "#cloud-config\nnetwork: {version: 2, ethernets: {lan9: {mtu: no}}}\n",
	} {
		if err := os.WriteFile(data+name, []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	for _, step := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"network", "confirm"}, 1, "no network configuration is on trial"},
		{[]string{"network", "try", "/data/none.yaml"}, 1, "it has no network to try"},
		{[]string{"network", "try", "/data/bad.yaml"}, 1, "line 2: network.ethernets.lan9.mtu"},
		{[]string{"network", "try", "/data/absent.yaml"}, 1, "no such file"},
		{[]string{"network", "try", "/data/new.yaml", "-for", "1s"}, 2, "10s to 24h"},
		{[]string{"network", "try", "/data/new.yaml"}, 0, "in force for 5m0s"},
		{[]string{"network"}, 1, "on trial until"},
		{[]string{"network", "try", "/data/new.yaml"}, 1, "another network configuration is on trial"},
		{[]string{"network", "revert"}, 0, "the former configuration is back"},
		{[]string{"network", "try", "/data/new.yaml"}, 0, "in force"},
		{[]string{"network", "confirm"}, 0, "it stays in force"},
	} {
		out, complaints, status := p.ksctl(step.args...)
		if status != step.status || !strings.Contains(out+complaints, step.says) {
			p.t.Errorf("ksctl %v: %d, want %d and %q\n%s%s", step.args, status, step.status, step.says, out, complaints)
		}
	}
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
