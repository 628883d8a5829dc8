package whole

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// TestISO boots the ISO twice on one data disk: first by BIOS on an empty disk,
// with all checks of a running node, then by UEFI and with a clock that fell
// back to 2011, in another network.
func TestISO(t *testing.T) {
	config := vmtest.Config{
		Name: "iso-bios", ISO: artefact(t, "kubesolo-os-amd64.iso"),
		Disks: []vmtest.Disk{{Path: emptyDisk(t, "data.img", 8)}},
		NIC:   &vmtest.NIC{Forward: []int{apiPort, hostPort, balancerPort}, Restrict: true},
	}
	var hello pod
	first := t.Run("first boot, BIOS", func(t *testing.T) {
		n := boot(t, config)
		t.Run("node and CoreDNS", n.testSystem)
		t.Run("pod and log", n.testHello)
		t.Run("service and DNS", n.testService)
		t.Run("volume", n.testVolume)
		t.Run("root is read-only", n.testReadOnly)
		t.Run("audit", n.testAudit)
		t.Run("signals at PID 1", n.testSignals)
		t.Run("ksctl", n.testKsctl)
		t.Run("kill kubesolo", func(t *testing.T) { n.testKill(t, "kubesolo") })
		t.Run("kill containerd", func(t *testing.T) { n.testKill(t, "containerd") })
		hello = n.waitPhase(t, "hello", "Running")
		n.shutDown(t)
		n.testOrder(t)
		mustBeClean(t, config.Disks[0].Path)
	})
	if !first {
		return // the second boot would only repeat the first one's failure
	}
	t.Run("second boot, UEFI", func(t *testing.T) {
		config.Name, config.UEFI, config.Extra = "iso-uefi", true, rtc("2011-01-01")
		// It was carried to another network meanwhile.
		config.NIC = &vmtest.NIC{Network: "10.0.7.0/24", Forward: []int{apiPort}, Restrict: true}
		booted := time.Now()
		n := boot(t, config)
		n.testOtherNetwork(t)
		var m struct{ Data map[string]string }
		if err := n.api.Do(t.Context(), "GET", path("configmaps", "kept"), nil, &m); err != nil || m.Data["key"] != "value of the first boot" {
			t.Errorf("config map: %v, %v", m.Data, err)
		}
		n.eventually(t, podLimit, "pod of the first boot", func(ctx context.Context) error {
			p, err := n.pod(ctx, "hello")
			switch {
			case err != nil:
				return err
			case p.Metadata.UID != hello.Metadata.UID:
				t.Fatalf("pod hello is another one: %+v, was %+v", p, hello)
			case p.Status.Phase != "Running" || !p.Status.ContainerStatuses[0].Ready,
				p.Status.ContainerStatuses[0].ContainerID == hello.Status.ContainerStatuses[0].ContainerID:
				return fmt.Errorf("not restarted yet: %+v", p)
			}
			return nil
		})
		// Its clock starts where the first boot's ended, some seconds ago.
		n.eventually(t, podLimit, "a lease of this boot", func(ctx context.Context) error { return n.nodeReady(ctx, booted) })
		n.testClock(t, "(last time of the boot before)")
		n.shutDown(t)
		mustBeClean(t, config.Disks[0].Path)
	})
}

// testOtherNetwork: the node has an address of this network, and is reached by the
// one of the first, for which pods, certificates and tokens were made. CoreDNS, of
// the first boot too, is ready: it asks the API server by a token.
func (n *node) testOtherNetwork(t *testing.T) {
	t.Helper()
	n.waitEvent(t, podLimit, func(e event.Event) bool {
		return e.Type == event.Step && e.Name == "network" && e.State == "ok" &&
			strings.Contains(e.Message, "10.0.7.15/24") && strings.Contains(e.Message, "node 10.0.2.15 (kept)")
	})
	var nodes struct {
		Items []struct {
			Status struct {
				Addresses []struct{ Type, Address string }
			}
		}
	}
	if err := n.api.Do(t.Context(), "GET", "/api/v1/nodes", nil, &nodes); err != nil || len(nodes.Items) != 1 {
		t.Fatalf("nodes: %v, %v", nodes, err)
	}
	for _, a := range nodes.Items[0].Status.Addresses {
		if a.Type == "InternalIP" && a.Address != "10.0.2.15" {
			t.Errorf("the node's address is %s now", a.Address)
		}
	}
}

// testSystem: the node is Ready with a fresh lease, every pod of kube-system
// runs, and nothing degraded on the way.
func (n *node) testSystem(t *testing.T) {
	if err := n.nodeReady(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
	n.eventually(t, podLimit, "kube-system", func(ctx context.Context) error {
		var pods struct{ Items []pod }
		if err := n.api.Do(ctx, "GET", "/api/v1/namespaces/kube-system/pods", nil, &pods); err != nil {
			return err
		}
		coredns := false
		for _, p := range pods.Items {
			if p.Status.Phase != "Running" {
				return fmt.Errorf("pod %s is %s", p.Metadata.Name, p.Status.Phase)
			}
			coredns = coredns || strings.HasPrefix(p.Metadata.Name, "coredns")
		}
		if !coredns {
			return fmt.Errorf("no coredns pod among %d", len(pods.Items))
		}
		return nil
	})
	for _, e := range n.EventsSoFar() {
		if e.Type == event.Step && (e.State == "failed" || e.State == "degraded") {
			t.Errorf("step %s: %s: %s", e.Name, e.State, e.Message)
		}
	}
}

func (n *node) testHello(t *testing.T) {
	n.apply(t, "hello.yaml")
	n.waitPhase(t, "hello", "Running")
	n.eventually(t, time.Minute, "log", func(context.Context) error {
		if text := n.logs(t, "hello"); !strings.Contains(text, "hello from a pod") {
			return fmt.Errorf("log is %q", text)
		}
		return nil
	})
}

// The ports of the node by which service.yaml is reached from outside.
const (
	hostPort     = 8081
	balancerPort = 80
)

// testService reaches a pod by the Service's name and address from inside, and by
// the node's address from outside.
func (n *node) testService(t *testing.T) {
	n.apply(t, "service.yaml")
	n.waitPhase(t, "client", "Succeeded")
	text := n.logs(t, "client")
	if !strings.Contains(text, "it works") || !strings.Contains(text, "10.43.0.1") {
		t.Errorf("the client says:\n%s", text)
	}
	for name, port := range map[string]int{"hostPort": hostPort, "load balancer": balancerPort} {
		n.eventually(t, time.Minute, name, func(ctx context.Context) error {
			outside, err := n.Forwarded(ctx, port)
			if err != nil {
				return err
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", outside), nil)
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return err
			}
			text, err := io.ReadAll(response.Body)
			if err := errors.Join(err, response.Body.Close()); err != nil || !strings.Contains(string(text), "it works") {
				return fmt.Errorf("%s: %q, %v", response.Status, text, err)
			}
			return nil
		})
	}
}

func (n *node) testVolume(t *testing.T) {
	n.apply(t, "volume.yaml")
	n.waitPhase(t, "writer", "Succeeded")
	if text := n.logs(t, "writer"); !strings.Contains(text, "kept on a volume") || !strings.Contains(text, " ext4 ") {
		t.Errorf("the writer says:\n%s", text)
	}
	var claim struct{ Status struct{ Phase string } }
	if err := n.api.Do(t.Context(), "GET", path("persistentvolumeclaims", "data"), nil, &claim); err != nil || claim.Status.Phase != "Bound" {
		t.Errorf("claim: %+v, %v", claim, err)
	}
}

func (n *node) testReadOnly(t *testing.T) {
	text := n.privileged(t, "read-only", "for d in / /etc/ /usr/ /sbin/ /lib/modules/; do touch /host${d}probe 2>&1 && echo WROTE $d; done; true")
	if strings.Contains(text, "WROTE") || strings.Count(text, "Read-only file system") != 5 {
		t.Errorf("writing to the root says:\n%s", text)
	}
}

// testSignals sends PID 1 what must not end it: SIGHUP, which ends a careless
// program and so the kernel, and SIGKILL, which the kernel keeps from it.
func (n *node) testSignals(t *testing.T) {
	text := n.privileged(t, "storm", "i=0; while [ $i -lt 300 ]; do kill -HUP 1; kill -KILL 1; i=$((i+1)); done; readlink /proc/1/exe; echo survived")
	if !strings.Contains(text, "survived") {
		t.Errorf("the storm says:\n%s", text)
	}
	if err := n.nodeReady(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
}

// testKill kills a service as a fault would. It must come back by itself, and
// the pods must not notice.
func (n *node) testKill(t *testing.T, service string) {
	hello, web := n.waitPhase(t, "hello", "Running"), n.waitPhase(t, "web", "Running")
	n.comesBack(t, service, "kill-"+service, "kill -9 $(pidof "+service+")")
	// That pods can be made again is the proof that all is well.
	if text := n.privileged(t, "after-"+service, "echo made after the fault"); !strings.Contains(text, "made after") {
		t.Errorf("a new pod says %q", text)
	}
	for _, before := range []pod{hello, web} {
		now := n.waitPhase(t, before.Metadata.Name, "Running")
		a, b := before.Status.ContainerStatuses[0], now.Status.ContainerStatuses[0]
		if now.Metadata.UID != before.Metadata.UID || a.ContainerID != b.ContainerID || a.RestartCount != b.RestartCount {
			t.Errorf("pod %s noticed: was %+v, is %+v", before.Metadata.Name, before, now)
		}
	}
}

// comesBack has a privileged pod of this name end a service, waits until that is there
// again and the node is Ready, and gives the reason of that end.
func (n *node) comesBack(t *testing.T, service, name, script string) (reason string) {
	t.Helper()
	exits := n.countEvents(service, "exited")
	begun := time.Now()
	n.startPrivileged(t, name, script)
	seen := 0
	n.waitEvent(t, podLimit, func(e event.Event) bool {
		if e.Type == event.Service && e.Name == service && e.State == "exited" {
			seen++
			reason = e.Message
		}
		return seen > exits && e.Type == event.Service && e.Name == service && e.State == "ready"
	})
	t.Logf("%s is back after %.1f s: %s", service, time.Since(begun).Seconds(), reason)
	n.eventually(t, readyLimit, "Ready after the end of "+service, func(ctx context.Context) error {
		return n.nodeReady(ctx, begun)
	})
	t.Logf("Ready after %.1f s", time.Since(begun).Seconds())
	return reason
}

// countEvents counts a service's events in a state so far.
func (n *node) countEvents(service, state string) int {
	count := 0
	for _, e := range n.EventsSoFar() {
		if e.Type == event.Service && e.Name == service && e.State == state {
			count++
		}
	}
	return count
}

// testOrder: the shutdown was said to be done, and nothing was left mounted.
func (n *node) testOrder(t *testing.T) {
	t.Helper()
	var stopped []string
	done := false
	for _, e := range n.EventsSoFar() {
		switch {
		case e.Type == event.Service && e.State == "stopped":
			stopped = append(stopped, e.Name)
		case e.Type == event.Shutdown && e.State == "done":
			done = true
		}
	}
	order := strings.Join(stopped, " ")
	if !done || strings.Index(order, "kubesolo") < 0 || strings.Index(order, "kubesolo") > strings.Index(order, "containerd") {
		t.Errorf("stopped in the order %q, done %v", order, done)
	}
}
