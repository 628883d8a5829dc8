package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/health"
)

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args           []string
		err            error // nil: any other error
		stdout, stderr string
	}{
		{nil, errUsage, "", "Usage: ksagent"},
		{[]string{"help"}, nil, "ksagent stop-pods --timeout 20s", ""},
		{[]string{"--help"}, nil, "Usage: ksagent", ""},
		{[]string{"reboot"}, errUsage, "", `unknown command "reboot"`},
		{[]string{"stop-pods", "--help"}, flag.ErrHelp, "", "-timeout"},
		{[]string{"stop-pods", "--tiemout", "1s"}, errUsage, "", "-tiemout"},
		{[]string{"health", "now"}, errUsage, "", `unexpected argument "now"`},
	} {
		var stdout, stderr bytes.Buffer
		err := command(t.Context(), tc.args, &stdout, &stderr)
		if !errors.Is(err, tc.err) || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("%q: %v\nstdout %s\nstderr %s", tc.args, err, &stdout, &stderr)
		}
	}
	if err := command(t.Context(), []string{"health", "-o", "yaml"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "yaml") {
		t.Errorf("-o yaml: %v", err)
	}
}

func TestHealthOutput(t *testing.T) {
	report := health.Report{{Name: health.API, State: health.OK}, {Name: health.Node, State: health.Waiting, Message: "no node has registered"}}
	var out bytes.Buffer
	a := agent{stdout: &out, output: "table"}
	if err := a.print(report); err != nil {
		t.Fatal(err)
	}
	if want := "CHECK  STATE    MESSAGE\napi    ok       \nnode   waiting  no node has registered\n"; out.String() != want {
		t.Errorf("got\n%s", &out)
	}
	out.Reset()
	a.output = "json"
	if err := a.print(report); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Ready  bool
		Checks health.Report
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Ready || len(got.Checks) != 2 || got.Checks[1] != report[1] {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPublish has a FIFO in the place of the virtio-serial port.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	class := filepath.Join(dir, "class/virtio-ports/vport1p2")
	if err := os.MkdirAll(class, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(class, "name"), []byte(kubeconfigPort+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "vport1p2")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	host, err := os.OpenFile(fifo, os.O_RDWR, 0) // so that neither end closes
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	config := filepath.Join(dir, "config")
	p := newPublisher(slog.New(slog.DiscardHandler), dir, dir)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.run(ctx); close(done) }()

	p.offer(config) // not there yet
	for _, text := range []string{"first", "second"} {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.offer(config)
		p.offer(config) // unchanged: not sent again
		if got := read(t, host, len(text)+1); got != text+"\n" {
			t.Errorf("got %q", got)
		}
	}
	// A host that does not read must not keep ksagent from ending.
	if err := os.WriteFile(config, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p.offer(config)
	read(t, host, 1)
	cancel()
	<-done
}

func read(t *testing.T, f *os.File, n int) string {
	t.Helper()
	if err := f.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(f, buf); err != nil {
		t.Fatal(err)
	}
	return string(buf)
}

func TestPublishWithoutPort(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(slog.New(slog.DiscardHandler), t.TempDir(), t.TempDir())
	p.offer(config)
	p.run(t.Context()) // ends by itself
}

func TestVersion(t *testing.T) {
	name := filepath.Join(t.TempDir(), "os-release")
	if err := os.WriteFile(name, []byte("ID=kubesolo-os\nVERSION_ID=\"0.1.0\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := version(name); got != "0.1.0" {
		t.Errorf("got %q", got)
	}
	if got := version(name + ".none"); got != "" {
		t.Errorf("got %q", got)
	}
}
