package nstest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func cloneFlags(what Kind) uintptr {
	flags := uintptr(0)
	if what&(Mount|Net|PID) != 0 {
		flags |= unix.CLONE_NEWNS
	}
	if what&Net != 0 {
		flags |= unix.CLONE_NEWNET
	}
	if what&PID != 0 {
		flags |= unix.CLONE_NEWPID
	}
	if what&UTS != 0 {
		flags |= unix.CLONE_NEWUTS
	}
	return flags
}

// unavailable says why this process cannot make the namespaces, "" if it can:
// it starts this binary in them and lets it list no test.
func unavailable(what Kind) string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneFlags(what)}
	if err := cmd.Run(); err != nil {
		return err.Error()
	}
	return ""
}

// enter finishes, inside, what clone(2) began.
func enter(what Kind) error {
	if what&(Mount|Net|PID) != 0 {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
	}
	if what&PID != 0 {
		if os.Getpid() != 1 {
			return fmt.Errorf("pid is %d, want 1 in a new PID namespace", os.Getpid())
		}
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	if what&Net != 0 {
		// sysfs shows the links of the namespace it was mounted in.
		if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount /sys: %w", err)
		}
	}
	return nil
}

// runChild runs the test t again in a process of its own and fails t when it
// failed, was skipped, or did not run.
func runChild(t *testing.T, what Kind) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", childArgs(t)...)
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneFlags(what)}
	// A process that the test left behind holds the output open. Without
	// a PID namespace to end it, waiting for it would hang the tier.
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	text := strings.TrimSpace(out.String())
	switch verdict(t.Name(), text) {
	case "PASS":
		if err != nil {
			t.Fatalf("nstest: passed in %s namespaces, then: %v\n%s", what, err, text)
		}
		if testing.Verbose() {
			t.Logf("nstest: in %s namespaces:\n%s", what, text)
		}
	case "SKIP":
		if os.Getenv(RequireEnv) == "1" {
			t.Fatalf("nstest: skipped in %s namespaces, and %s=1:\n%s", what, RequireEnv, text)
		}
		t.Skipf("nstest: skipped in %s namespaces:\n%s", what, text)
	case "FAIL":
		t.Fatalf("nstest: failed in %s namespaces:\n%s", what, text)
	default:
		t.Fatalf("nstest: no result from %s namespaces (%v):\n%s", what, err, text)
	}
}

// childArgs selects exactly this test, and hands on the flags that change
// what a test does (-update, -short) but not those about reports.
func childArgs(t *testing.T) []string {
	parts := strings.Split(t.Name(), "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	args := []string{"-test.run=" + strings.Join(parts, "/"), "-test.v=true", "-test.count=1"}
	if deadline, ok := t.Deadline(); ok {
		// A little less than ours, so that its goroutine dump is seen.
		left := time.Until(deadline) * 9 / 10
		args = append(args, "-test.timeout="+left.String())
	}
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "test.short" || !strings.HasPrefix(f.Name, "test.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

// verdict finds the result line of the test name in a -test.v transcript.
func verdict(name, text string) string {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		for _, v := range []string{"PASS", "FAIL", "SKIP"} {
			if strings.HasPrefix(line, "--- "+v+": "+name+" (") {
				return v
			}
		}
	}
	return ""
}

// endPassed ends the test t as passed. Package testing offers this only as
// SkipNow, and a skip is a failure in CI, rightly. So the flag that SkipNow
// and FailNow set before they leave the goroutine is set here; should a later
// Go have another name for it, the test is reported as skipped instead.
func endPassed(t *testing.T) {
	f := reflect.ValueOf(t).Elem().FieldByName("finished")
	if !f.IsValid() || f.Kind() != reflect.Bool {
		t.Skip("nstest: passed in its namespaces; this Go release can only report it as skipped")
	}
	*(*bool)(unsafe.Pointer(f.UnsafeAddr())) = true
	runtime.Goexit()
}
