package sshd

import (
	"bytes"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCommand(t *testing.T) {
	t.Setenv("KS_SECRET", "of the agent")
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	for _, tc := range []struct {
		args        []string
		out, errOut string
		status      int
	}{
		{args: []string{"echo out; echo err >&2; exit 7"}, out: "out\n", errOut: "err\n", status: 7},
		{args: []string{"true"}},
		{args: []string{"no-such-program"}, errOut: "no-such-program: not found", status: 127},
		{args: []string{"echo $HOME $USER $SHELL $PATH; tty"}, out: "/root root /bin/sh /usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nnot a tty\n", status: 1},
		{args: []string{"echo ${KS_SECRET-none} ${LD_PRELOAD-none}"}, out: "none none\n"},
		{args: []string{"echo ${SSH_CONNECTION% *}"}, out: "127.0.0.1 "},
		// OpenSSH's client has no status for one that was killed.
		{args: []string{"kill -TERM $$"}, status: 255},
		// Output of what works on in the background is part of the command's.
		{args: []string{"(sleep 0.2; echo late) & echo early"}, out: "early\nlate\n"},
	} {
		out, errText, status := result(t, n.client(file, append([]string{"root@127.0.0.1"}, tc.args...)...))
		if !strings.HasPrefix(out, tc.out) || (out != tc.out && !strings.HasSuffix(tc.out, " ")) || !strings.Contains(errText, tc.errOut) || status != tc.status {
			t.Errorf("%s: %q %q %d", tc.args, out, errText, status)
		}
	}
	// A client sends what its user configured; the language gets through.
	cmd := n.client(file, "-o", "SendEnv=LC_PAPER", "-o", "SendEnv=LD_PRELOAD", "root@127.0.0.1", "echo $LC_PAPER ${LD_PRELOAD-none}")
	cmd.Env = append(os.Environ(), "LC_PAPER=a4", "LD_PRELOAD=")
	if out, errText, _ := result(t, cmd); out != "a4 none\n" {
		t.Errorf("%q %s", out, errText)
	}
}

// Every byte goes there and back, with more than fits into any buffer.
func TestInputAndOutputAreWhole(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	data := make([]byte, 5<<20)
	_, _ = rand.Read(data) // never fails
	cmd := n.client(file, "root@127.0.0.1", "cat")
	cmd.Stdin = bytes.NewReader(data)
	out, errText, status := result(t, cmd)
	if out != string(data) || status != 0 {
		t.Errorf("%d bytes of %d, %d %s", len(out), len(data), status, errText)
	}
	// How files are copied, both ways.
	copied := filepath.Join(n.dir, "copied")
	cmd = n.client(file, "root@127.0.0.1", "cat > "+copied)
	cmd.Stdin = bytes.NewReader(data)
	if _, errText, status := result(t, cmd); status != 0 {
		t.Error(errText)
	}
	if b, err := os.ReadFile(copied); err != nil || !bytes.Equal(b, data) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestSubsystemsAreRefused(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	if _, errText, status := result(t, n.client(file, "-s", "root@127.0.0.1", "sftp")); status == 0 || !strings.Contains(errText, "subsystem request failed") {
		t.Errorf("%d %s", status, errText)
	}
}

// onTerminal runs a client on a terminal of the test's own: what it prints, the
// terminal, and how to type.
func (n *node) onTerminal(cmd *exec.Cmd, size windowSize) (screen *text, master *os.File) {
	n.t.Helper()
	master, slave, err := openTerminal(terminal{size: size})
	if err != nil {
		n.t.Fatal(err)
	}
	defer slave.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(os.Environ(), "TERM=vt100")
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = master.Close()
	})
	screen = newText()
	go func() {
		buf := make([]byte, 4096)
		for {
			read, err := master.Read(buf)
			_, _ = screen.Write(buf[:read])
			if err != nil { // the client has ended
				return
			}
		}
	}()
	return screen, master
}

func typeLine(t *testing.T, master *os.File, line string) {
	t.Helper()
	if _, err := master.WriteString(line); err != nil {
		t.Fatal(err)
	}
}

func TestShellOnTerminal(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	cmd := n.client(file, "root@127.0.0.1")
	screen, master := n.onTerminal(cmd, windowSize{Columns: 100, Rows: 40})
	// What is typed is echoed; the result is not in the line.
	typeLine(t, master, "echo term=$TERM tty=${SSH_TTY%/*} login=$0 sum=$((40+2))\r")
	screen.after(t, "sum=$((40+2))")
	screen.after(t, "term=vt100 tty=/dev/pts login=-sh sum=42")
	typeLine(t, master, "stty size; echo size-$?\r")
	screen.after(t, "40 100\r\nsize-0")
	// The window changes, and the client tells.
	typeLine(t, master, "echo armed-$((1+1)); until [ \"$(stty size)\" = '50 132' ]; do sleep 0.1; done; echo changed-$((1+1))\r")
	screen.after(t, "armed-2")
	if err := control(master, func(fd int) error { return setSize(fd, windowSize{Columns: 132, Rows: 50}) }); err != nil {
		t.Fatal(err)
	}
	screen.after(t, "changed-2")
	// ctrl-c ends what runs, and not the shell.
	typeLine(t, master, "echo begin-$((1+2)); sleep 1000\r")
	screen.after(t, "begin-3")
	typeLine(t, master, "\x03")
	screen.after(t, "begin-3", "^C", "# ") // the key also throws away what was typed
	typeLine(t, master, "echo still-$((1+3))\r")
	screen.after(t, "still-4")
	typeLine(t, master, "exit 9\r")
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%v\n%s", err, screen)
	}
}

// The keys of the client's terminal are those of the node's: ctrl-x interrupts.
func TestModesOfTheTerminal(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	master, slave, err := openTerminal(terminal{name: "vt100", modes: []byte{1, 0, 0, 0, 24, 53, 0, 0, 0, 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	cmd := n.client(file, "-tt", "root@127.0.0.1", "stty -a")
	cmd.Stdin = slave
	out, errText, _ := result(t, cmd)
	slave.Close()
	if !strings.Contains(out, "intr = ^X;") || !strings.Contains(out, " -echo ") {
		t.Errorf("%s%s", out, errText)
	}
}

// Twenty sessions at a time in one connection, each with its own end.
func TestManySessions(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	socket := filepath.Join(n.dir, "mux")
	leader := n.client(file, "-N", "-M", "-S", socket, "root@127.0.0.1")
	leader.Stderr = t.Output()
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- leader.Wait() }()
	t.Cleanup(func() {
		_ = leader.Process.Kill()
		ended <- <-ended
	})
	// A client that comes before the leader has its socket logs in by itself.
	for limit := time.Now().Add(hangLimit); ; time.Sleep(20 * time.Millisecond) {
		_, errText, status := result(t, n.client(file, "-S", socket, "-O", "check", "root@127.0.0.1"))
		if status == 0 {
			break
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the leader is gone: %v", err)
		default:
		}
		if time.Now().After(limit) {
			t.Fatal(errText)
		}
	}
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			cmd := n.client(file, "-S", socket, "root@127.0.0.1", "read x; exit $x")
			cmd.Stdin = strings.NewReader(string(rune('0'+i%10)) + "\n")
			if out, errText, status := result(t, cmd); status != i%10 {
				t.Errorf("session %d: %q %d %s", i, out, status, errText)
			}
		})
	}
	wait.Wait()
	if logins := strings.Count(n.log.String(), "ssh: login"); logins != 1 {
		t.Errorf("%d logins", logins)
	}
}

// A client that vanishes hangs up: what it ran can still do its last things.
func TestDisconnectHangsUp(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	mark := filepath.Join(n.dir, "hung-up")
	cmd := n.client(file, "-tt", "root@127.0.0.1", "trap 'echo yes > "+mark+"; exit' HUP; echo ready; while :; do sleep 0.05; done")
	out := newText()
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.after(t, "ready")
	_ = cmd.Process.Signal(unix.SIGKILL)
	_ = cmd.Wait()
	n.log.after(t, "ssh: logout") // said when the session has ended
	if b, err := os.ReadFile(mark); err != nil || string(b) != "yes\n" {
		t.Errorf("%q %v", b, err)
	}
}
