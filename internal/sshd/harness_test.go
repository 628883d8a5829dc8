package sshd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/cgroup"
)

// hangLimit ends a test that hangs; it measures nothing.
const hangLimit = 60 * time.Second

// text collects output and lets a test wait for some of it.
type text struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func newText() *text { return &text{changed: make(chan struct{})} }

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	close(x.changed)
	x.changed = make(chan struct{})
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// after waits until all of want are there, one after the other, and gives what
// follows the last.
func (x *text) after(t *testing.T, want ...string) string {
	t.Helper()
	limit := time.After(hangLimit)
	for {
		x.mu.Lock()
		rest, ok := x.b.String(), true
		for _, w := range want {
			if ok {
				_, rest, ok = strings.Cut(rest, w)
			}
		}
		changed := x.changed
		x.mu.Unlock()
		if ok {
			return rest
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no %q in:\n%s", want, x)
		}
	}
}

// node is a server as ksagent runs it, on a free port of 127.0.0.1.
type node struct {
	t       *testing.T
	dir     string
	log     *text
	options Options
	stop    func()
	port    string // once it listens
}

// start runs a server with these lines as its keys. There is no configuration
// at all without keys.
func start(t *testing.T, api string, groups *cgroup.Tree, keys ...string) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), log: newText()}
	// A test that is run by nohup ignores SIGHUP, and so would its shells: what is
	// ignored cannot be trapped. ksinit's services begin with the default.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	t.Cleanup(func() { signal.Stop(hup) })
	// The shell of the image, under the name that it has there.
	shell := filepath.Join(n.dir, "sh")
	if err := os.Symlink("/bin/busybox", shell); err != nil {
		t.Fatal(err)
	}
	n.options = Options{
		Address: "127.0.0.1:0", Config: filepath.Join(n.dir, "config.json"), HostKey: filepath.Join(n.dir, "host_key"),
		Shell: shell, API: api, Groups: groups,
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(n.log, t.Output()), nil)),
	}
	if len(keys) > 0 {
		n.configure(keys...)
	}
	n.run()
	return n
}

func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { Run(ctx, n.options) })
	n.stop = func() { cancel(); wait.Wait() }
	n.t.Cleanup(n.stop)
	if _, err := os.Stat(n.options.Config); err == nil {
		n.listening()
	}
}

// listening waits for the listener and lets the client know the host key.
func (n *node) listening() {
	n.t.Helper()
	line, _, _ := strings.Cut(n.log.after(n.t, `"ssh: listening" address=127.0.0.1:`), "\n")
	n.port, _, _ = strings.Cut(line, " ")
	public := tool(n.t, "ssh-keygen", "-y", "-f", n.options.HostKey)
	known := "[127.0.0.1]:" + n.port + " " + public
	if err := os.WriteFile(filepath.Join(n.dir, "known_hosts"), []byte(known), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// configure writes the configuration as ksinit does: a new file in its place.
func (n *node) configure(keys ...string) {
	n.t.Helper()
	b, err := json.Marshal(map[string]any{"hostname": "box", "ssh": map[string]any{"authorized-keys": keys}})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.options.Config+".new", b, 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Rename(n.options.Config+".new", n.options.Config); err != nil {
		n.t.Fatal(err)
	}
}

// tool runs one of Debian's openssh-client and gives its output.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s (Debian package openssh-client): %v\n%s", name, err, out)
	}
	return string(out)
}

// newKey makes a pair of keys and gives the private one's file and the public
// one's line.
func newKey(t *testing.T, kind ...string) (file, line string) {
	t.Helper()
	if kind == nil {
		kind = []string{"ed25519"}
	}
	file = filepath.Join(t.TempDir(), "id")
	tool(t, "ssh-keygen", append([]string{"-q", "-N", "", "-C", "operator", "-f", file, "-t"}, kind...)...)
	b, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return file, string(b)
}

// client is OpenSSH's, with the key; nothing of this machine's own settings.
func (n *node) client(key string, args ...string) *exec.Cmd {
	all := append([]string{
		"-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + filepath.Join(n.dir, "known_hosts"), "-o", "GlobalKnownHostsFile=none",
		"-o", "LogLevel=INFO", "-p", n.port,
	}, args...)
	return exec.Command("ssh", all...)
}

// result runs a client to its end. One that hangs is ended, and what every
// goroutine of the server waits for is in the test's output.
func result(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, status int) {
	t.Helper()
	var out, errText bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errText
	cmd.WaitDelay = hangLimit // when something else holds the output
	hang := time.AfterFunc(hangLimit, func() {
		stacks := make([]byte, 1<<20)
		t.Logf("%v hangs:\n%s", cmd.Args, stacks[:runtime.Stack(stacks, true)])
		_ = cmd.Process.Kill()
	})
	defer hang.Stop()
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
	}
	return out.String(), errText.String(), cmd.ProcessState.ExitCode()
}

// silent connects and says nothing.
func (n *node) silent() net.Conn {
	n.t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+n.port)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(hangLimit))
	return conn
}

func fingerprint(t *testing.T, line string) string {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(key)
}
