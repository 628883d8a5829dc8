package health

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

// answers is an API that knows a few paths.
type answers map[string]string

func (a answers) Get(_ context.Context, path string, out any) error {
	body, ok := a[path]
	if !ok {
		return errors.New("404 " + path)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal([]byte(body), out)
}

const (
	leasesPath = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
	dnsPath    = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
	podsPath   = "/api/v1/namespaces/kube-system/pods?labelSelector=a%3Db%2Ck8s-app%3Dkube-dns"
)

// running is a node as a real API describes it, fields not needed left out.
func running() answers {
	return answers{
		"/readyz":       "ok",
		"/api/v1/nodes": `{"items":[{"metadata":{"name":"n"},"status":{"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True","message":"kubelet is posting ready status"}]}}]}`,
		leasesPath:      `{"items":[{"metadata":{"name":"n"},"spec":{"holderIdentity":"n","renewTime":"2026-10-01T12:00:00.123456Z"}}]}`,
		dnsPath:         `{"spec":{"selector":{"matchLabels":{"k8s-app":"kube-dns","a":"b"}}}}`,
		podsPath:        `{"items":[{"metadata":{"name":"coredns-1"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"containerID":"containerd://c1","state":{"running":{"startedAt":"2026-10-01T11:59:00Z"}}}]}}]}`,
	}
}

// tasks is what containerd runs.
type tasks struct {
	ids []string
	err error
}

func (r tasks) Running(_ context.Context, ids []string) (bool, error) {
	for _, id := range ids {
		if !slices.Contains(r.ids, id) {
			return false, r.err
		}
	}
	return true, r.err
}

func observer(a answers, r Runtime) *Observer {
	return &Observer{API: func() (Getter, error) { return a, nil }, Runtime: r}
}

func TestObserve(t *testing.T) {
	o := observer(running(), tasks{ids: []string{"c1"}}).Observe(t.Context())
	if o.APIError+o.NodeError+o.CoreDNSError+o.DataError != "" {
		t.Fatalf("%+v", o)
	}
	want := NodeStatus{Name: "n", Ready: true, Message: "kubelet is posting ready status", Renewed: time.Date(2026, 10, 1, 12, 0, 0, 123456000, time.UTC)}
	if len(o.Nodes) != 1 || o.Nodes[0] != want {
		t.Errorf("nodes %+v, want %+v", o.Nodes, want)
	}
	pod := PodStatus{Name: "coredns-1", Ready: true, Message: "Running", Started: time.Date(2026, 10, 1, 11, 59, 0, 0, time.UTC), Running: Yes}
	if len(o.CoreDNS) != 1 || o.CoreDNS[0] != pod {
		t.Errorf("pods %+v, want %+v", o.CoreDNS, pod)
	}
	if up := o.Now.Sub(o.Boot); up <= 0 {
		t.Errorf("the machine is up for %v", up)
	}
}

func TestObserveContainersOfAnEarlierBoot(t *testing.T) {
	for want, r := range map[Running]Runtime{No: tasks{}, Unknown: tasks{err: errors.New("gone")}, Yes: tasks{ids: []string{"c1"}}} {
		if o := observer(running(), r).Observe(t.Context()); o.CoreDNS[0].Running != want {
			t.Errorf("%+v: running is %v, want %v", r, o.CoreDNS[0].Running, want)
		}
	}
}

func TestObserveLeaseMoves(t *testing.T) {
	a := running()
	ob := observer(a, nil)
	moved := func() bool { return ob.Observe(t.Context()).Nodes[0].Moved }
	if moved() || moved() {
		t.Error("a lease that stands still moved")
	}
	a[leasesPath] = strings.Replace(a[leasesPath], "12:00:00", "12:00:10", 1)
	if !moved() || !moved() {
		t.Error("a renewal was not seen")
	}
	// First boot: no lease at the first look, then one.
	a[leasesPath] = `{"items":[]}`
	ob = observer(a, nil)
	if moved() {
		t.Error("no lease, but it moved")
	}
	a[leasesPath] = running()[leasesPath]
	if !moved() {
		t.Error("the first lease was not seen")
	}
}

func TestObserveWhatIsMissing(t *testing.T) {
	ob := Observer{API: func() (Getter, error) { return nil, errors.New("no kubeconfig") }}
	if o := ob.Observe(t.Context()); o.APIError != "no kubeconfig" {
		t.Errorf("%+v", o)
	}
	for path, field := range map[string]func(Observation) string{
		"/readyz":       func(o Observation) string { return o.APIError },
		"/api/v1/nodes": func(o Observation) string { return o.NodeError },
		leasesPath:      func(o Observation) string { return o.NodeError },
		dnsPath:         func(o Observation) string { return o.CoreDNSError },
		podsPath:        func(o Observation) string { return o.CoreDNSError },
	} {
		a := running()
		delete(a, path)
		if got := field(observer(a, nil).Observe(t.Context())); !strings.Contains(got, path) {
			t.Errorf("without %s the error is %q", path, got)
		}
	}
	a := running()
	a[leasesPath] = `{"items":[{"metadata":{"name":"n"},"spec":{"renewTime":"yesterday"}}]}`
	if got := observer(a, nil).Observe(t.Context()).NodeError; !strings.Contains(got, "lease of node n") {
		t.Errorf("bad time: %q", got)
	}
}

func TestDataError(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if got := dataError(dir); got != "" {
		t.Errorf("an empty file system: %q", got)
	}
	if err := os.WriteFile(dir+"/full", make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := dataError(dir); !strings.Contains(got, "full") {
		t.Errorf("a full file system: %q", got)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if got := dataError(dir); !strings.Contains(got, "read-only") {
		t.Errorf("a read-only file system: %q", got)
	}
	if got := dataError(dir + "/none"); !strings.Contains(got, "no such file") {
		t.Errorf("a missing directory: %q", got)
	}
}

func TestFailedChecks(t *testing.T) {
	for text, want := range map[string]string{
		"GET /readyz: 500 Internal Server Error: [+]ping ok\n[-]poststarthook/rbac failed: reason withheld\n[-]etcd failed: x\nreadyz check failed": "not ready yet: poststarthook/rbac, etcd",
		"GET /readyz: 500 Internal Server Error: [-]ping failed":                                                                                    "not ready yet: ping",
		"connection refused": "connection refused",
	} {
		if got := failedChecks(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
