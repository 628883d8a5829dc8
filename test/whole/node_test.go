package whole

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/kubeapi"
	"kubesolo.io/os/internal/vmtest"
)

// Limits that only a hang reaches: a boot takes about two minutes under
// emulation on two cores.
const (
	readyLimit = 12 * time.Minute
	podLimit   = 6 * time.Minute
	apiPort    = 6443
	// slow is worth a line in the log: a pod has ended after ten seconds or twenty.
	slow = 30 * time.Second
)

// artefact gives a built file, and skips outside the tier.
func artefact(t *testing.T, name string) string {
	t.Helper()
	if os.Getenv("KS_WHOLE") != "1" {
		t.Skip("whole-VM tier: KS_WHOLE=1 go test ./test/whole")
	}
	path, err := filepath.Abs(filepath.Join("../../build", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make image first", err)
	}
	return path
}

func TestMain(m *testing.M) {
	if os.Getenv("KS_WHOLE") == "1" {
		if err := vmtest.SettleAccelerator(context.Background(), "../../build/vmlinuz"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// node is a machine and a client of its API.
type node struct {
	*vmtest.VM
	api *kubeapi.Client
}

// boot starts a machine and waits until it says Ready.
func boot(t *testing.T, c vmtest.Config) *node {
	t.Helper()
	c.ProbeWith = artefact(t, "vmlinuz")
	start := time.Now()
	n := &node{VM: vmtest.Run(t, c)}
	n.waitEvent(t, readyLimit, func(e event.Event) bool { return e.Type == event.Ready })
	t.Logf("Ready after %.0f s", time.Since(start).Seconds())
	if c.NIC == nil {
		return n
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	kubeconfig, err := n.HostKubeconfig(ctx, apiPort)
	if err != nil {
		t.Fatal(err)
	}
	if n.api, err = kubeapi.Load(kubeconfig); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) waitEvent(t *testing.T, limit time.Duration, match func(event.Event) bool) event.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	e, err := n.WaitEvent(ctx, match)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// eventually asks until check is content. It is how a watcher without watches
// waits: the first check is at once, the others every second. What takes long is
// logged with what was last missing. It gives how long that took.
func (n *node) eventually(t *testing.T, limit time.Duration, what string, check func(context.Context) error) (took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var missing error
	for begun := time.Now(); ; {
		err := check(ctx)
		took = time.Since(begun)
		if err == nil {
			if took > slow {
				t.Logf("%s: after %.0f s; before that: %.300v", what, took.Seconds(), missing)
			}
			return took
		}
		missing = err
		select {
		case <-time.After(time.Second):
		case <-n.Died():
			t.Fatalf("%s: the machine ended: %v", what, err)
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
	}
}

var collections = map[string]string{
	"Pod": "pods", "Service": "services", "ConfigMap": "configmaps", "PersistentVolumeClaim": "persistentvolumeclaims",
}

func path(parts ...string) string {
	return "/api/v1/namespaces/default/" + strings.Join(parts, "/")
}

// apply creates the objects of a file in testdata; the pairs of replace are
// strings to fill in.
func (n *node) apply(t *testing.T, file string, replace ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	documents := yaml.NewDecoder(strings.NewReader(strings.NewReplacer(replace...).Replace(string(text))))
	for {
		var object map[string]any
		if err := documents.Decode(&object); err != nil {
			return // the end: a wrong document is refused by the API
		}
		collection := collections[fmt.Sprint(object["kind"])]
		if collection == "" {
			t.Fatalf("%s: no collection for %v", file, object["kind"])
		}
		// A service account that is about to be made is the usual
		// reason for a refusal in the first second.
		n.eventually(t, time.Minute, "create "+collection, func(ctx context.Context) error {
			return n.api.Do(ctx, "POST", path(collection), object, nil)
		})
	}
}

type pod struct {
	Metadata struct{ Name, UID string }
	Status   struct {
		Phase             string
		ContainerStatuses []struct {
			Ready        bool
			RestartCount int
			ContainerID  string
		}
	}
}

func (n *node) pod(ctx context.Context, name string) (p pod, err error) {
	err = n.api.Do(ctx, "GET", path("pods", name), nil, &p)
	return p, err
}

// waitPhase waits until the pod is in one of the phases.
func (n *node) waitPhase(t *testing.T, name string, phases ...string) pod {
	t.Helper()
	var p pod
	t.Cleanup(func() {
		if t.Failed() && !slices.Contains(phases, p.Status.Phase) {
			n.explain(t, name)
		}
	})
	took := n.eventually(t, podLimit, "pod "+name, func(ctx context.Context) (err error) {
		if p, err = n.pod(ctx, name); err != nil {
			return err
		}
		if !slices.Contains(phases, p.Status.Phase) {
			return fmt.Errorf("phase %s, want %v: %+v", p.Status.Phase, phases, p.Status.ContainerStatuses)
		}
		return nil
	})
	if took > slow {
		n.explain(t, name)
	}
	return p
}

// explain logs what the API knows of a pod that is not as it should be, or was late.
func (n *node) explain(t *testing.T, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // t.Context() is over
	defer cancel()
	var events struct {
		Items []struct {
			Reason, Message string
			InvolvedObject  struct{ Name string }
		}
	}
	err := n.api.Do(ctx, "GET", path("events"), nil, &events)
	for _, e := range events.Items {
		if e.InvolvedObject.Name == name {
			t.Logf("pod %s: %s: %s", name, e.Reason, e.Message)
		}
	}
	text, logErr := n.api.Logs(ctx, "default", name, "")
	var status struct{ Status json.RawMessage }
	_ = n.api.Do(ctx, "GET", path("pods", name), nil, &status)
	t.Logf("pod %s: %s; events %v, log %v:\n%s", name, status.Status, err, logErr, text)
}

func (n *node) logs(t *testing.T, name string) (text string) {
	t.Helper()
	n.eventually(t, time.Minute, "log of pod "+name, func(ctx context.Context) (err error) {
		text, err = n.api.Logs(ctx, "default", name, "")
		return err
	})
	return text
}

// privileged runs a one-line script with all rights on the node and gives its output.
func (n *node) privileged(t *testing.T, name, script string) string {
	t.Helper()
	n.startPrivileged(t, name, script)
	p := n.waitPhase(t, name, "Succeeded", "Failed")
	text := n.logs(t, name)
	if p.Status.Phase != "Succeeded" {
		t.Errorf("pod %s: %s\n%s", name, p.Status.Phase, text)
	}
	return text
}

func (n *node) startPrivileged(t *testing.T, name, script string) {
	t.Helper()
	n.apply(t, "privileged.yaml", "NAME", name, "SCRIPT", "'"+strings.ReplaceAll(script, "'", "''")+"'")
}

// nodeReady is nil when the node is Ready and has renewed its lease after the
// given time.
func (n *node) nodeReady(ctx context.Context, after time.Time) error {
	var nodes struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status, Reason string }
			}
		}
	}
	if err := n.api.Do(ctx, "GET", "/api/v1/nodes", nil, &nodes); err != nil {
		return err
	}
	if len(nodes.Items) != 1 {
		return fmt.Errorf("%d nodes", len(nodes.Items))
	}
	item := nodes.Items[0]
	var lease struct{ Spec struct{ RenewTime time.Time } }
	if err := n.api.Do(ctx, "GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"+item.Metadata.Name, nil, &lease); err != nil {
		return err
	}
	if !lease.Spec.RenewTime.After(after) {
		return fmt.Errorf("lease renewed at %v, not after %v", lease.Spec.RenewTime, after)
	}
	for _, c := range item.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" {
			return nil
		}
	}
	return errors.New("node is not Ready")
}

// shutDown presses ctrl-alt-delete and waits for the reset that ends it.
func (n *node) shutDown(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := n.CtrlAltDelete(ctx); err != nil {
		t.Fatal(err)
	}
	exit, err := n.Wait(ctx)
	if err != nil || exit.Reason != "guest-reset" || exit.Err != nil {
		t.Fatalf("ctrl-alt-delete: %+v, %v", exit, err)
	}
}
