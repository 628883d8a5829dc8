package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/nstest"
)

// pid1 is the real ksinit as PID 1 of namespaces of its own, in a root of the
// test's making. Nothing of the machine is in there: /dev and /sys are not the
// machine's, so that no disk can be found and no watchdog be fed, and no
// control group but its own is in reach.
type pid1 struct {
	t   *testing.T
	cmd *exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
	end chan error
}

func startPID1(t *testing.T) *pid1 {
	t.Helper()
	keepPrintk(t)
	root := makeRoot(t)
	p := &pid1{t: t, end: make(chan error, 1)}
	p.cmd = exec.Command("/sbin/init")
	p.cmd.Dir = "/"
	p.cmd.Env = []string{"GOGC=30"} // must not reach a service
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     root,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS,
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(p, r)
	}()
	go func() {
		err := p.cmd.Wait()
		<-copied // its last line is still in the pipe now and then
		p.end <- err
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("console:\n%s", p.text())
		}
	})
	return p
}

// Write takes the console's output.
func (p *pid1) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *pid1) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// expect waits for n matches on the console.
func (p *pid1) expect(pattern string, n int) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for range 1200 {
		if len(re.FindAllString(p.text(), -1)) >= n {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.t.Fatalf("no %d times %q on the console within a minute", n, pattern)
}

// ended waits for the end and says by which signal it came.
func (p *pid1) ended() string {
	p.t.Helper()
	select {
	case <-p.end:
		return unix.SignalName(p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	case <-time.After(90 * time.Second):
		p.t.Fatal("it does not end")
	}
	return ""
}

// keepPrintk restores what ksinit sets of the kernel that we share with it.
func keepPrintk(t *testing.T) {
	t.Helper()
	for _, name := range []string{"/proc/sys/kernel/printk", "/proc/sys/kernel/printk_devkmsg"} {
		old, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.WriteFile(name, old, 0) })
	}
}

func makeRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	mountAt(t, "tmpfs", root, "tmpfs", 0)
	for _, dir := range []string{"sbin", "bin", "dev", "proc", "sys", "run", "tmp", "var", "data", "root",
		"usr/local/bin", "etc/cni/net.d", "etc/kubesolo", "etc/kubesolo-os"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// As the initramfs does it.
	build(t, ".", filepath.Join(root, "init"))
	if err := os.WriteFile(filepath.Join(root, "sbin/init"), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	mountAt(t, filepath.Join(root, "init"), filepath.Join(root, "sbin/init"), "", unix.MS_BIND)
	service := filepath.Join(root, "usr/local/bin/containerd")
	build(t, "./testdata/service", service)
	for _, name := range []string{"kubesolo", "ksagent"} {
		if err := os.Link(service, filepath.Join(root, "usr/local/bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, "/bin/busybox", filepath.Join(root, "bin/busybox"))
	for _, name := range []string{"modules", "sysctl"} {
		if err := os.WriteFile(filepath.Join(root, "etc/kubesolo-os", name), []byte("# none\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"dev", "sys"} {
		mountAt(t, "tmpfs", filepath.Join(root, dir), "tmpfs", 0)
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "urandom": 9} {
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			t.Fatal(err)
		}
	}
	cgroups := filepath.Join(root, "sys/fs/cgroup")
	if err := os.MkdirAll(cgroups, 0o755); err != nil {
		t.Fatal(err)
	}
	mountAt(t, "tmpfs", cgroups, "tmpfs", 0)
	return root
}

func mountAt(t *testing.T, source, target, kind string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

func build(t *testing.T, pkg, out string, flags ...string) {
	t.Helper()
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, text)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatalf("%v: install busybox-static", err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// children finds processes by parent: name to pids, and zombies.
func (p *pid1) children() (byName map[string][]int, zombies []string) {
	byName = map[string][]int{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		p.t.Fatal(err)
	}
	parent := strconv.Itoa(p.cmd.Process.Pid)
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		open, shut := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		f := strings.Fields(string(stat[shut+1:]))
		if f[1] != parent {
			continue
		}
		name := string(stat[open+1 : shut])
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		byName[name] = append(byName[name], pid)
		if f[0] == "Z" {
			zombies = append(zombies, name)
		}
	}
	return byName, zombies
}

// The life of a node: boot without any hardware, signals that mean nothing,
// a service that dies, orphans, and the orderly restart.
func TestPID1Life(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	p := startPID1(t)
	// The guard of this test: the machine's own must be out of reach.
	p.expect(`degraded +cgroups: .*no cgroup v2`, 1)
	p.expect(`degraded +data: in memory; data: block devices: open /sys/class/block`, 1)
	p.expect(`ok +service kubesolo: ready`, 1)
	p.expect(`ok +boot: \d+ steps`, 1)

	// A signal that is not caught ends it now and then (catchUncaught).
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	_, caught, _ := strings.Cut(string(status), "\nSigCgt:\t")
	mask, parseErr := strconv.ParseUint(strings.SplitN(caught, "\n", 2)[0], 16, 64)
	if err != nil || parseErr != nil || ^mask != 1<<(unix.SIGKILL-1)|1<<(unix.SIGSTOP-1) {
		t.Errorf("PID 1 catches %x, want all but SIGKILL and SIGSTOP: %v, %v", mask, err, parseErr)
	}
	// All there are, those of a fault too, which a program can be sent as well.
	for range 100 {
		for sig := unix.Signal(1); sig <= 64; sig++ {
			if _, means := actionOf(sig); means || sig == unix.SIGKILL || sig == unix.SIGSTOP {
				continue // these two reach PID 1 from outside its namespace only
			}
			if err := p.cmd.Process.Signal(sig); err != nil {
				t.Fatalf("PID 1 is gone after signals that mean nothing, at %d: %v", sig, err)
			}
		}
	}

	byName, _ := p.children()
	if len(byName["kubesolo"]) != 1 {
		t.Fatalf("children are %v, want one kubesolo", byName)
	}
	pid := byName["kubesolo"][0]
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || bytes.Contains(env, []byte("GOGC")) || !bytes.Contains(env, []byte("KUBESOLO_NODE_IP=")) {
		t.Errorf("environment of kubesolo: %q, %v", env, err)
	}
	effective := fmt.Sprintf("/proc/%d/root/run/ksinit", pid)
	if info, err := os.Stat(effective + "/config.json"); err != nil || info.Mode() != 0o600 {
		t.Errorf("effective configuration: %v, %v", info, err)
	}
	if c, o, err := config.ReadEffective(effective); err != nil || c.Hostname != "kubesolo" || o["hostname"] != "defaults" {
		t.Errorf("effective configuration: host name %q from %q, %v", c.Hostname, o["hostname"], err)
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err != nil || !bytes.Contains(status, []byte("NoNewPrivs:\t1")) {
		t.Errorf("kubesolo may gain rights: %s, %v", status, err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.expect(`degraded +service kubesolo: killed by SIGKILL; last output: kubesolo starts with \[\]`, 1)
	p.expect(`ok +service kubesolo: ready`, 2)
	// Two starts have left two orphans, which must not stay as zombies.
	byName, zombies := p.children()
	for range 100 {
		if len(byName["busybox"])+len(zombies) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
		byName, zombies = p.children()
	}
	if len(byName["busybox"])+len(zombies) > 0 {
		t.Errorf("orphans %v, zombies %v", byName["busybox"], zombies)
	}

	if err := p.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// reboot(2) in a PID namespace ends it by SIGHUP for a restart and by
	// SIGINT for power off (kernel/pid_namespace.c, reboot_pid_ns).
	if got := p.ended(); got != "SIGHUP" {
		t.Errorf("ended by %s, want SIGHUP: a restart", got)
	}
	assertOrder(t, p.text(), "started: restart", "pods (", "kubesolo (", "containerd (", "processes (", "unmount (", "sync (", "done: restart")
	if strings.Contains(p.text(), "busy") {
		t.Error("something stays mounted that could go, or that need not")
	}
}

// Services that hang: stopped processes, which are there and whose sockets take
// connections. Each is noticed by its own probe, ended and started again.
func TestPID1Hang(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	p := startPID1(t)
	p.expect(`ok +boot: \d+ steps`, 1)
	names := []string{"containerd", "kubesolo", "ksagent"}
	for _, name := range names {
		p.expect(`ok +service `+name+`: ready`, 1)
	}
	time.Sleep(10 * time.Second) // ksagent is watched from its first heartbeat on
	byName, _ := p.children()
	for _, name := range names {
		if len(byName[name]) != 1 {
			t.Fatalf("children are %v", byName)
		}
		if err := unix.Kill(byName[name][0], unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Second) // nobody is called hung that early
	for _, name := range names {
		p.expect(`degraded +service `+name+`: hung: 4 probes in a row without an answer: .*; killed by SIGKILL`, 1)
		p.expect(`ok +service `+name+`: ready`, 2)
	}
	if strings.Contains(p.text(), "failed ") {
		t.Error("one hang each is no crash loop")
	}
}

func TestPID1PowerOff(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	p := startPID1(t)
	p.expect(`ok +filesystems`, 1)
	if err := p.cmd.Process.Signal(unix.SIGUSR2); err != nil { // in the middle of the boot
		t.Fatal(err)
	}
	if got := p.ended(); got != "SIGINT" {
		t.Errorf("ended by %s, want SIGINT: power off", got)
	}
}

func assertOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		i := strings.Index(text, "shutdown  "+part)
		if i < 0 {
			t.Fatalf("%q is not on the console, or not in its place", part)
		}
		text = text[i:]
	}
}
