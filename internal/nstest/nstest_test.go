package nstest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostNamespace hands the first process's namespaces to the second one, so
// that it can tell that it is not in them.
func hostNamespace(t *testing.T, name string) string {
	t.Helper()
	key := "KS_NSTEST_HOST_" + strings.ToUpper(name)
	if os.Getenv(childEnv) == "" {
		link, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(key, link)
	}
	return os.Getenv(key)
}

func mustDiffer(t *testing.T, name, host string) {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if host == "" || own == host {
		t.Errorf("namespace %s: inside %q, outside %q", name, own, host)
	}
}

func TestMount(t *testing.T) {
	host := hostNamespace(t, "mnt")
	Require(t, Mount)
	mustDiffer(t, "mnt", host)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(info), "shared:") {
		t.Errorf("shared mounts inside:\n%s", info)
	}
}

func TestPIDAndNet(t *testing.T) {
	host := hostNamespace(t, "net")
	Require(t, PID|Net)
	mustDiffer(t, "net", host)
	if os.Getpid() != 1 {
		t.Errorf("pid %d, want 1", os.Getpid())
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	sys, err := filepath.Glob("/sys/class/net/*")
	if err != nil {
		t.Fatal(err)
	}
	if len(links) == 0 || links[0].Name != "lo" || len(links) != len(sys) {
		t.Errorf("links %v, /sys/class/net %v", links, sys)
	}
	for _, l := range links {
		if l.Flags&net.FlagUp != 0 {
			t.Errorf("link %s is up", l.Name)
		}
	}
}

func TestSubtest(t *testing.T) {
	t.Run("a (b)", func(t *testing.T) {
		Require(t, UTS)
		if err := unix.Sethostname([]byte("inside")); err != nil {
			t.Fatal(err)
		}
	})
}

// TestResults looks at this package from outside: what does go test see when
// the inner process passes, fails, or panics?
func TestResults(t *testing.T) {
	if reason := unavailable(Mount); reason != "" {
		Require(t, Mount) // skips, or fails when namespaces are required
	}
	for _, c := range []struct{ mode, want string }{
		{"pass", "--- PASS: TestInner"},
		{"fail", "--- FAIL: TestInner"},
		{"panic", "--- FAIL: TestInner"},
		{"exit", "--- FAIL: TestInner"},
		{"skip", "--- FAIL: TestInner"}, // KS_REQUIRE_NS=1 below
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestInner$", "-test.v=true")
		cmd.Env = append(os.Environ(), "KS_NSTEST_INNER="+c.mode, RequireEnv+"=1")
		out, err := cmd.CombinedOutput()
		if (err == nil) != (c.mode == "pass") {
			t.Errorf("%s: exit %v", c.mode, err)
		}
		if !strings.Contains("\n"+string(out), "\n"+c.want+" (") {
			t.Errorf("%s: want %q in:\n%s", c.mode, c.want, out)
		}
	}
}

// TestInner is driven by TestResults; alone it passes.
func TestInner(t *testing.T) {
	Require(t, Mount)
	switch os.Getenv("KS_NSTEST_INNER") {
	case "fail":
		t.Error("as told")
	case "panic":
		panic("as told")
	case "exit":
		os.Exit(0)
	case "skip":
		t.Skip("as told")
	}
}

func TestVMIsSkippedOutside(t *testing.T) {
	t.Setenv(VMEnv, "")
	skipped := false
	t.Run("inner", func(t *testing.T) {
		t.Cleanup(func() { skipped = t.Skipped() })
		Require(t, VM|Mount)
		t.Error("the body ran outside the VM")
	})
	if !skipped {
		t.Error("not skipped")
	}
}

func TestKindString(t *testing.T) {
	if got := (Mount | PID | VM).String(); got != "mount+pid+vm" {
		t.Errorf("got %q", got)
	}
}

// TestVMNamespaces runs in the small VM tier: the namespaces are to be had
// there too, so a test can ask for both.
func TestVMNamespaces(t *testing.T) {
	Require(t, VM|Mount|Net|PID|UTS)
	if os.Getpid() != 1 {
		t.Errorf("pid %d, want 1", os.Getpid())
	}
}
