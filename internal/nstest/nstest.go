// Package nstest runs a test in Linux namespaces of its own, so that code
// which mounts, configures links or is PID 1 can be tested on the real kernel
// without touching the machine.
//
// It owns the re-execution of the test binary and the set-up of the new
// namespaces. It never fakes a kernel and never lets the body of a test run
// in the machine's own namespaces. It is tested by its own tests, which look
// at the namespaces they find themselves in.
//
// Call Require as the first statement of a top-level test:
//
//	func TestBindMount(t *testing.T) {
//		nstest.Require(t, nstest.Mount)
//		// here: root, mounts private, everything vanishes with the test
//	}
//
// The test binary is started again for this one test in the namespaces asked
// for; the first process only reports what the second one said. A test that
// needs a kernel of ours (modules, bonds, cgroup v2) asks for VM and is named
// TestVM...: it is skipped on the host and run by the small VM tier
// (test/small), which fails when one of them did not run.
package nstest

import (
	"os"
	"strings"
	"testing"
)

// Kind is a set of what a test needs to have for itself.
type Kind uint

// What a test can ask for. PID and Net imply a mount namespace, because the
// new /proc and /sys have to be mounted somewhere.
const (
	Mount Kind = 1 << iota // own mount namespace, all mounts private
	Net                    // own network namespace: only lo, and that is down; fresh /sys
	PID                    // own PID namespace: the test process is PID 1; fresh /proc
	UTS                    // own host name
	VM                     // the small test VM; combines with the others
)

// Environment variables of the contract with test/tiers.sh and test/small.
const (
	// RequireEnv set to 1 turns "no namespaces here" from a skip into a failure.
	RequireEnv = "KS_REQUIRE_NS"
	// VMEnv set to 1 says that this is the test VM.
	VMEnv = "KS_IN_VM"
	// childEnv names the test that a re-executed binary was started for.
	childEnv = "KS_NSTEST_CHILD"
)

func (k Kind) String() string {
	var names []string
	for _, n := range []struct {
		kind Kind
		name string
	}{{Mount, "mount"}, {Net, "net"}, {PID, "pid"}, {UTS, "uts"}, {VM, "vm"}} {
		if k&n.kind != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "+")
}

// Require returns only in a process that has what is asked for; the calling
// goroutine is free to use any thread, as the whole process is inside. In the
// first process it runs the second one, reports its output and result as this
// test's, and ends the test. When namespaces cannot be had the test is skipped,
// or fails when KS_REQUIRE_NS=1.
func Require(t *testing.T, what Kind) {
	t.Helper()
	if what&VM != 0 {
		// The VM tier lists tests by this prefix: any other name would
		// never run anywhere.
		if !strings.HasPrefix(t.Name(), "TestVM") {
			t.Fatalf("nstest: a test that needs the VM must be named TestVM..., not %s", t.Name())
		}
		if os.Getenv(VMEnv) != "1" {
			t.Skip("nstest: runs in the small VM tier (test/small)")
		}
	}
	what &^= VM
	if what == 0 {
		return
	}
	if os.Getenv(childEnv) == t.Name() {
		if err := enter(what); err != nil {
			t.Fatalf("nstest: %v", err)
		}
		return
	}
	if reason := unavailable(what); reason != "" {
		if os.Getenv(RequireEnv) == "1" {
			t.Fatalf("nstest: %s namespaces are required (%s=1): %s", what, RequireEnv, reason)
		}
		t.Skipf("nstest: no %s namespaces: %s", what, reason)
	}
	runChild(t, what)
	endPassed(t)
}
