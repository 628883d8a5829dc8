package components

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubesolo.io/os/internal/nstest"
)

// buildPause compiles pause as the image builder does.
func buildPause(t *testing.T) string {
	t.Helper()
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(c Component) bool { return c.Name == "pause" })
	if i < 0 {
		t.Fatal("no component named pause")
	}
	dir := t.TempDir()
	argv, env := all[i].Command(dir)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return filepath.Join(dir, "pause")
}

func TestPauseIsStatic(t *testing.T) {
	f, err := elf.Open(buildPause(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("pause asks for a dynamic loader, but its image has none")
		}
		if p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
			t.Errorf("a segment is writable and executable: %v", p.ProgHeader)
		}
	}
}

// TestPauseAsPID1 checks that TERM ends pause even where the kernel drops
// unhandled signals.
func TestPauseAsPID1(t *testing.T) {
	nstest.Require(t, nstest.PID)
	bin := buildPause(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := exec.Command(bin)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitAsleep(t, cmd.Process.Pid)
		for _, harmless := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGCHLD, sig} {
			if err := cmd.Process.Signal(harmless); err != nil {
				t.Fatalf("before %v: %v", harmless, err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want exit status 0", sig, err)
		}
	}
}

// TestPauseReaps gives pause a child, as a pod with a shared PID namespace
// does, and lets it die.
func TestPauseReaps(t *testing.T) {
	bin := buildPause(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `cat <&3 3<&- & exec "$0" 3<&-`, bin)
	cmd.ExtraFiles = []*os.File{r}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	r.Close()
	waitAsleep(t, cmd.Process.Pid)
	if kids := children(t, cmd.Process.Pid); len(kids) != 1 {
		t.Fatalf("pause has the children %q, want one", kids)
	}
	w.Close()
	for deadline := time.Now().Add(10 * time.Second); len(children(t, cmd.Process.Pid)) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("the dead child %q was not reaped", children(t, cmd.Process.Pid))
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func children(t *testing.T, pid int) []string {
	t.Helper()
	p := strconv.Itoa(pid)
	b, err := os.ReadFile("/proc/" + p + "/task/" + p + "/children")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// waitAsleep waits until the process runs pause and sleeps, which it does only
// where it waits for a signal.
func waitAsleep(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), " (pause) S ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("pause never waited: %s", b)
		}
	}
}
