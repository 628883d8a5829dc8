package sshd

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestLoginWithKey(t *testing.T) {
	for _, kind := range [][]string{{"ed25519"}, {"ecdsa", "-b", "384"}, {"rsa", "-b", "2048"}} {
		file, line := newKey(t, kind...)
		n := start(t, "127.0.0.1:1", nil, line)
		if out, errText, status := result(t, n.client(file, "root@127.0.0.1", "echo in")); out != "in\n" || status != 0 {
			t.Errorf("%s: %q %d %s", kind, out, status, errText)
		}
		n.log.after(t, `ssh: login" from=127.0.0.1:`)
		n.log.after(t, "key="+fingerprint(t, line)+" comment=operator")
		n.log.after(t, "ssh: logout")
		n.stop()
	}
}

// A client with many keys offers them one after the other.
func TestLoginWithOneOfSeveralKeys(t *testing.T) {
	file, line := newKey(t)
	other, _ := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	if out, errText, status := result(t, n.client(other, "-i", file, "root@127.0.0.1", "echo in")); out != "in\n" {
		t.Errorf("%q %d %s", out, status, errText)
	}
	n.log.after(t, `ssh: login" from=127.0.0.1:`)
}

func TestRefusedLogins(t *testing.T) {
	file, line := newKey(t)
	wrong, wrongLine := newKey(t)
	for name, tc := range map[string]struct {
		args []string
		log  string
	}{
		"wrong key":                    {[]string{wrong, "root@127.0.0.1", "true"}, "key " + fingerprint(t, wrongLine) + " is not in the configuration"},
		"other user":                   {[]string{file, "admin@127.0.0.1", "true"}, `user admin: only root can log in`},
		"user with control characters": {[]string{file, "-l", "a\x1b[2Jb", "127.0.0.1", "true"}, `user a?[2Jb: only root`},
		// With a password at hand, and asked for nothing else.
		"password": {[]string{file, "-o", "BatchMode=no", "-o", "PreferredAuthentications=password,keyboard-interactive", "root@127.0.0.1", "true"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, "127.0.0.1:1", nil, line)
			out, errText, status := result(t, n.client(tc.args[0], tc.args[1:]...))
			if status != 255 || out != "" || !strings.Contains(errText, "Permission denied (publickey).") {
				t.Errorf("%q %d %s", out, status, errText)
			}
			if tc.log != "" {
				n.log.after(t, tc.log)
			}
			if strings.Contains(n.log.String(), "ssh: login") {
				t.Errorf("logged in:\n%s", n.log)
			}
		})
	}
}

// Wrong keys are refused without a word on the wire after a few tries, and the
// log has one line of them.
func TestWrongKeysAreSlowedDown(t *testing.T) {
	_, line := newKey(t)
	wrong, _ := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	held := false
	for range 20 { // each takes longer than the pause is at first
		_, errText, _ := result(t, n.client(wrong, "root@127.0.0.1", "true"))
		if held = !strings.Contains(errText, "Permission denied"); held {
			break
		}
	}
	if !held {
		t.Error("no try was held off")
	}
	if lines := strings.Count(n.log.String(), "ssh: refused"); lines != 1 {
		t.Errorf("%d lines in the log:\n%s", lines, n.log)
	}
}

// Four connections that do not log in are all there can be at a time.
func TestFewConnectionsLogIn(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	var held []net.Conn
	for range maxPending {
		conn := n.silent()
		if hello, err := bufio.NewReader(conn).ReadString('\n'); hello != "SSH-2.0-KubeSoloOS\r\n" {
			t.Fatalf("%q %v", hello, err)
		}
		held = append(held, conn)
	}
	if b, err := io.ReadAll(n.silent()); len(b) > 0 || err != nil {
		t.Errorf("one too many is told %q, %v", b, err)
	}
	n.log.after(t, "too many connections are logging in")
	for _, conn := range held {
		conn.Close()
	}
	// A port check is no failed login: the same source is let in.
	for limit := time.Now().Add(hangLimit); ; {
		out, errText, _ := result(t, n.client(file, "root@127.0.0.1", "echo in"))
		if out == "in\n" {
			return
		}
		if strings.Contains(errText, "Permission denied") || time.Now().After(limit) {
			t.Fatal(errText)
		}
	}
}

// A connection that says nothing ends after ten seconds.
func TestLoginTakesTenSeconds(t *testing.T) {
	dir := t.TempDir()
	signer, err := hostKey(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		s := &server{Options: Options{Config: filepath.Join(dir, "config.json"), Log: slog.New(slog.DiscardHandler)}, guard: newGuard()}
		if why := s.guard.admit(address(theirs)); why != "" {
			t.Fatal(why)
		}
		begin := time.Now()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		s.serve(t.Context(), theirs, signer)
		if took := time.Since(begin); took != loginLimit {
			t.Errorf("it took %v", took)
		}
		if s.guard.pending != 0 {
			t.Error("its place is not free")
		}
		_ = ours.Close()
	})
}

// Without keys nothing listens; keys that come later open the port, and a key
// that is taken out ends what it opened.
func TestListenerFollowsConfiguration(t *testing.T) {
	file, line := newKey(t)
	other, otherLine := newKey(t)
	n := start(t, "127.0.0.1:1", nil)
	if _, err := os.Stat(n.options.HostKey); err == nil {
		t.Error("a host key was made")
	}
	n.configure() // a configuration without keys
	n.configure(line)
	n.listening()
	cmd := n.client(file, "root@127.0.0.1", "echo in; sleep 1000")
	out := newText()
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.after(t, "in\n")
	n.configure(otherLine)
	// A login reads the keys itself: this needs no look.
	if out, errText, _ := result(t, n.client(other, "root@127.0.0.1", "echo in")); out != "in\n" {
		t.Error(errText)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 255 {
		t.Errorf("the first one ended with %v", err)
	}
	n.log.after(t, "the key is not in the configuration any more")
	// A file that cannot be read lets nobody in.
	if err := os.WriteFile(n.options.Config, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, status := result(t, n.client(other, "root@127.0.0.1", "echo in")); out != "" || status != 255 {
		t.Errorf("%q %d", out, status)
	}
	n.log.after(t, "config.json: unexpected end of JSON input")
	n.configure()
	n.log.after(t, "not listening any more")
	if conn, err := net.Dial("tcp", "127.0.0.1:"+n.port); err == nil {
		conn.Close()
		t.Error("the port is open without keys")
	}
}

// The kernel ends the connections of clients that vanished, silent or not. To
// wait for it would take a minute: the test asks for what is set.
func TestVanishedClientsEnd(t *testing.T) {
	listener, err := listenOn(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for name, option := range map[string]struct{ level, number, want int }{
			"SO_KEEPALIVE": {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, "TCP_KEEPIDLE": {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
			"TCP_KEEPINTVL": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 10}, "TCP_KEEPCNT": {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
			"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 60_000},
		} {
			if got, err := unix.GetsockoptInt(int(fd), option.level, option.number); got != option.want || err != nil {
				t.Errorf("%s is %d, %v", name, got, err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHostKeyStays(t *testing.T) {
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", nil, line)
	before, err := os.ReadFile(n.options.HostKey)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(n.options.HostKey); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if said := tool(t, "ssh-keygen", "-l", "-f", n.options.HostKey); !strings.Contains(said, "(ED25519)") {
		t.Errorf("ssh-keygen says %s", said)
	}
	n.stop()
	n.log = newText()
	n.options.Log = slog.New(slog.NewTextHandler(n.log, nil))
	n.run()
	if after, err := os.ReadFile(n.options.HostKey); err != nil || string(after) != string(before) {
		t.Errorf("another key after a restart: %v", err)
	}
	// The client has the old one in its list: it would refuse another.
	if out, errText, _ := result(t, n.client(file, "root@127.0.0.1", "echo in")); out != "in\n" {
		t.Error(errText)
	}
}

// A key that cannot be read or kept is no reason to be unreachable, and stays
// as it is.
func TestHostKeyForThisBootOnly(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(broken, []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		broken: "remove it to get a new one",
		filepath.Join(t.TempDir(), "absent", "key"): "no such file or directory",
	} {
		signer, err := hostKey(path)
		if signer == nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v", signer, err)
		}
	}
	if b, err := os.ReadFile(broken); err != nil || string(b) != "noise" {
		t.Errorf("%q %v", b, err)
	}
}
