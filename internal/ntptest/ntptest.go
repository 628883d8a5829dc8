// Package ntptest runs a real time server, chronyd, for a test.
//
// It owns where the program comes from: the one of the machine, else Debian's
// package unpacked under build/ (never installed, as it would replace the
// machine's own time service). The server never touches the clock of the
// machine: it runs with -x, and as root's test in the user nobody. Its own test
// is that of the client, in clocksync.
package ntptest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const startLimit = 30 * time.Second

// nobody is the user and group in Debian that own nothing.
const nobody = 65534

// A Server is a running chronyd.
type Server struct {
	Address string // 127.0.0.1 and the port
	dir     string
	client  string // chronyc
}

// Start runs a server on a free port of 127.0.0.1 until the test ends. It
// serves the time of this machine, and as synchronised only when that is asked.
func Start(t *testing.T, synchronised bool) *Server {
	t.Helper()
	daemon, client := programs(t)
	// Not t.TempDir, which others cannot enter.
	dir, err := os.MkdirTemp("", "ntptest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{Address: freeAddress(t), dir: dir, client: filepath.Join(dir, "chronyc")}
	copyProgram(t, client, s.client)
	copyProgram(t, daemon, filepath.Join(dir, "chronyd"))
	_, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("port %s\nbindaddress 127.0.0.1\nallow all\nmanual\ncmdport 0\nbindcmdaddress %s/run/sock\npidfile %s/run/pid\n", port, dir, dir)
	if synchronised {
		config += "local stratum 3\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(run, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	// -U: it need not be root; -u: and stays who it is.
	cmd := s.command("chronyd", "-x", "-d", "-U", "-u", userName(t), "-f", filepath.Join(dir, "conf"))
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("chronyd said:\n%s", &said)
		}
	})
	for deadline := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		out, err := s.command("chronyc", "-h", dir+"/run/sock", "tracking").CombinedOutput()
		if err == nil {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("chronyd does not answer: %v: %s", err, out)
		}
	}
}

// SetTime makes the server serve another time than this machine has.
func (s *Server) SetTime(t *testing.T, at time.Time) {
	t.Helper()
	out, err := s.command("chronyc", "-h", s.dir+"/run/sock", "settime "+at.UTC().Format("Jan 2, 2006 15:04:05")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "200 OK") {
		t.Fatalf("chronyc settime: %v: %s", err, out)
	}
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.dir, name), args...)
	cmd.Env = []string{"TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

func userName(t *testing.T) string {
	t.Helper()
	if os.Getuid() == 0 {
		return "nobody"
	}
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatalf("id -un: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// freeAddress is free now; nothing else on the machine takes it by design.
func freeAddress(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port))
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// programs finds chronyd and chronyc, or unpacks them.
func programs(t *testing.T) (daemon, client string) {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/chronyd"); err == nil {
		return "/usr/sbin/chronyd", "/usr/bin/chronyc"
	}
	build := filepath.Join(repository(t), "build")
	root := filepath.Join(build, "chrony")
	daemon, client = filepath.Join(root, "usr/sbin/chronyd"), filepath.Join(root, "usr/bin/chronyc")
	if _, err := os.Stat(daemon); err == nil {
		return daemon, client
	}
	if err := os.MkdirAll(build, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(build, "chrony-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	script := "cd \"$1\" && apt-get -q download chrony && dpkg-deb -x chrony_*.deb root"
	if out, err := exec.Command("sh", "-ec", script, "sh", tmp).CombinedOutput(); err != nil {
		t.Fatalf("Debian package chrony (apt-get update?): %v\n%s", err, out)
	}
	// Another test may have been quicker: its copy is as good.
	if err := os.Rename(filepath.Join(tmp, "root"), root); err != nil {
		if _, err := os.Stat(daemon); err != nil {
			t.Fatal(err)
		}
	}
	return daemon, client
}

func repository(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the working directory")
	}
}
