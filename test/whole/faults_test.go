package whole

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// TestFaults lets pods without limits take all processes, a whole file system
// in memory and all memory of a small node, stops kubesolo as a hang does, and takes
// the memory of two services away. Nothing of the system ends but what hung or was
// killed for that, and a pod beside them does not notice.
func TestFaults(t *testing.T) {
	kernel := artefact(t, "vmlinuz")
	n := boot(t, vmtest.Config{
		Name: "faults", Kernel: kernel, Initrd: artefact(t, "kubesolo-os.gz"), Append: arguments, Memory: 1536,
		Disks: []vmtest.Disk{{Path: emptyDisk(t, "data.img", 4)}},
		NIC:   &vmtest.NIC{Forward: []int{apiPort}, Restrict: true},
	})
	n.apply(t, "bystander.yaml")
	before := n.waitPhase(t, "bystander", "Running")

	t.Run("floors and limits", n.testLimits)
	t.Run("kubesolo hangs", n.testHang)
	t.Run("processes", func(t *testing.T) {
		phase := n.fault(t, "processes", "while sleep 100000 & do :; done", "Succeeded", "Failed")
		if text := n.logs(t, "processes"); !strings.Contains(text, "can't fork") {
			t.Errorf("%s: the pod never met a limit: %q", phase, text)
		}
	})
	t.Run("file system in memory", func(t *testing.T) {
		// It ends at its own size, or its pod at that of all pods.
		n.fault(t, "tmpfs", "dd if=/dev/zero of=/memory/file bs=1M; rm /memory/file", "Succeeded", "Failed")
	})
	t.Run("memory", func(t *testing.T) {
		n.fault(t, "memory", "tail /dev/zero", "Failed")
	})
	for _, service := range []string{"ksagent", "kubesolo"} {
		t.Run(service+" is out of memory", func(t *testing.T) { n.testOutOfMemory(t, service) })
	}

	after := n.waitPhase(t, "bystander", "Running")
	a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]
	if after.Metadata.UID != before.Metadata.UID || a.ContainerID != b.ContainerID || a.RestartCount != b.RestartCount {
		t.Errorf("the bystander noticed: was %+v, is %+v", before, after)
	}
	for service, want := range map[string]int{"containerd": 0, "kubesolo": 2, "ksagent": 1} {
		if got := n.countEvents(service, "exited"); got != want {
			t.Errorf("%s ended %d times, want %d", service, got, want)
		}
	}
}

// fault runs a harmful script in a pod to its end; the node stays Ready.
func (n *node) fault(t *testing.T, name, script string, phases ...string) string {
	t.Helper()
	begun := time.Now()
	n.apply(t, "fault.yaml", "NAME", name, "SCRIPT", fmt.Sprintf("%q", script))
	phase := n.waitPhase(t, name, phases...).Status.Phase
	t.Logf("%s after %.1f s", phase, time.Since(begun).Seconds())
	n.eventually(t, podLimit, "Ready after "+name, func(ctx context.Context) error {
		return n.nodeReady(ctx, begun)
	})
	return phase
}

// testLimits: the services have their floors and the pods their ceilings, and the
// kernel would take any pod before kubesolo.
func (n *node) testLimits(t *testing.T) {
	text := n.privileged(t, "limits", "cd /host/sys/fs/cgroup; for f in containerd kubesolo ksagent; do cat $f/memory.min; done; "+
		"cat kubepods/memory.max kubepods/pids.max; cat /proc/$(pidof kubesolo)/oom_score_adj")
	var got [6]int64
	if _, err := fmt.Sscan(text, &got[0], &got[1], &got[2], &got[3], &got[4], &got[5]); err != nil {
		t.Fatalf("%v in:\n%s", err, text) // a limit that is not set reads "max"
	}
	const mib = 1 << 20
	if got[0] != 32*mib || got[1] != 128*mib || got[2] != 8*mib {
		t.Errorf("floors: %v", got[:3])
	}
	if all := int64(n.Config.Memory) * mib; got[3] > all-512*mib || got[3] < all/2 || got[4] < 1000 {
		t.Errorf("all pods may have %d MiB and %d processes", got[3]/mib, got[4])
	}
	if got[5] > -900 {
		t.Errorf("kubesolo has an OOM score of %d", got[5])
	}
}

// testHang stops kubesolo as a deadlock would: its process is there, its port
// takes connections, and nothing answers.
func (n *node) testHang(t *testing.T) {
	n.startPrivileged(t, "stop-kubesolo", "kill -STOP $(pidof kubesolo)")
	e := n.waitEvent(t, podLimit, func(e event.Event) bool {
		return e.Type == event.Service && e.Name == "kubesolo" && e.State == "exited"
	})
	if !strings.HasPrefix(e.Message, "hung: 4 probes in a row without an answer: ") {
		t.Fatalf("kubesolo ended for another reason: %s", e.Message)
	}
	noticed := time.Now()
	n.eventually(t, readyLimit, "Ready after the hang", func(ctx context.Context) error {
		return n.nodeReady(ctx, noticed)
	})
	t.Logf("Ready %.1f s after the hang was noticed", time.Since(noticed).Seconds())
}

// testOutOfMemory has the kernel kill a service for want of memory, as it does when
// there is a leak. The reason is named, and the service comes back.
func (n *node) testOutOfMemory(t *testing.T, service string) {
	reason := n.comesBack(t, service, "oom-"+service, "cd /host/sys/fs/cgroup/"+service+
		" && echo 0 > memory.swap.max && echo 1M > memory.max; echo max > memory.max; echo max > memory.swap.max")
	if !strings.HasPrefix(reason, "killed by SIGKILL (out of memory)") {
		t.Errorf("%s ended for another reason: %s", service, reason)
	}
}
