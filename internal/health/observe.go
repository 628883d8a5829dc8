package health

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/event"
)

// Getter reads from the Kubernetes API; *kubeapi.Client is one.
type Getter interface {
	Get(ctx context.Context, path string, out any) error
}

// Runtime tells which of some containers run. An error means that it cannot
// tell.
type Runtime interface {
	Running(ctx context.Context, containers []string) (bool, error)
}

// Observer makes Observations. Its zero value with API set is usable; it
// remembers leases, so it belongs to one goroutine.
type Observer struct {
	// API gives the client, or the error why there is none yet.
	API func() (Getter, error)
	// Runtime may be nil.
	Runtime Runtime
	// DataDir is a directory on the data partition, "" for none.
	DataDir string

	leases map[string]string // first renewTime seen, by node; "" when there was none
	moved  map[string]bool
}

// requestTimeout bounds each request of an observation.
const requestTimeout = 10 * time.Second

// Observe looks at the node. What depends on something that is not there is not
// asked for. Images are not its business: the caller fills those fields.
func (ob *Observer) Observe(ctx context.Context) Observation {
	now := time.Now()
	o := Observation{
		Now:       now,
		Boot:      now.Add(-time.Duration(event.Now() * float64(time.Second))),
		DataError: dataError(ob.DataDir),
	}
	api, err := ob.API()
	if err == nil {
		err = get(ctx, api, "/readyz", nil)
	}
	if err != nil {
		o.APIError = failedChecks(err.Error())
		return o
	}
	if o.Nodes, err = ob.nodes(ctx, api); err != nil {
		o.NodeError = err.Error()
	}
	if o.CoreDNS, err = ob.coreDNS(ctx, api); err != nil {
		o.CoreDNSError = err.Error()
	}
	return o
}

// failedChecks shortens what /readyz says while the API starts: of its forty
// lines "[+]name ok" and "[-]name failed: reason withheld" only the names of
// those that failed are news. Any other text stays as it is.
func failedChecks(text string) string {
	var failed []string
	for line := range strings.Lines(text) {
		// The first check stands behind the request and the status.
		if _, check, ok := strings.Cut(line, "[-]"); ok {
			name, _, _ := strings.Cut(check, " ")
			failed = append(failed, name)
		}
	}
	if len(failed) == 0 {
		return text
	}
	return "not ready yet: " + strings.Join(failed, ", ")
}

func get(ctx context.Context, api Getter, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return api.Get(ctx, path, out)
}

// metadata and condition are the parts of Kubernetes objects needed here.
type metadata struct {
	Name string `json:"name"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

func ready(conditions []condition) (bool, string) {
	for _, c := range conditions {
		if c.Type == "Ready" {
			return c.Status == "True", c.Message
		}
	}
	return false, "no Ready condition"
}

func (ob *Observer) nodes(ctx context.Context, api Getter) ([]NodeStatus, error) {
	var leases struct {
		Items []struct {
			Metadata metadata
			Spec     struct {
				RenewTime string `json:"renewTime"`
			}
		}
	}
	if err := get(ctx, api, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", &leases); err != nil {
		return nil, err
	}
	var nodes struct {
		Items []struct {
			Metadata metadata
			Status   struct{ Conditions []condition }
		}
	}
	if err := get(ctx, api, "/api/v1/nodes", &nodes); err != nil {
		return nil, err
	}
	renewed := make(map[string]string)
	for _, l := range leases.Items {
		renewed[l.Metadata.Name] = l.Spec.RenewTime
	}
	ob.remember(renewed)
	var all []NodeStatus
	for _, n := range nodes.Items {
		s := NodeStatus{Name: n.Metadata.Name, Moved: ob.moved[n.Metadata.Name]}
		s.Ready, s.Message = ready(n.Status.Conditions)
		if text := renewed[s.Name]; text != "" {
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return nil, fmt.Errorf("lease of node %s: %w", s.Name, err)
			}
			s.Renewed = t
		}
		all = append(all, s)
	}
	return all, nil
}

// remember notes which leases moved since the first look at them. A lease that
// was not there at the first look counts as moved once it is.
func (ob *Observer) remember(renewed map[string]string) {
	if ob.leases == nil {
		ob.leases, ob.moved = renewed, make(map[string]bool)
		return
	}
	for name, t := range renewed {
		if ob.leases[name] != t {
			ob.moved[name] = true
		}
	}
}

const kubeSystem = "/namespaces/kube-system/"

func (ob *Observer) coreDNS(ctx context.Context, api Getter) ([]PodStatus, error) {
	var deployment struct {
		Spec struct {
			Selector struct{ MatchLabels map[string]string }
		}
	}
	if err := get(ctx, api, "/apis/apps/v1"+kubeSystem+"deployments/coredns", &deployment); err != nil {
		return nil, err
	}
	var selector []string
	for k, v := range deployment.Spec.Selector.MatchLabels {
		selector = append(selector, k+"="+v)
	}
	slices.Sort(selector)
	var pods struct {
		Items []struct {
			Metadata metadata
			Status   struct {
				Phase             string
				Conditions        []condition
				ContainerStatuses []containerStatus
			}
		}
	}
	query := url.Values{"labelSelector": {strings.Join(selector, ",")}}
	if err := get(ctx, api, "/api/v1"+kubeSystem+"pods?"+query.Encode(), &pods); err != nil {
		return nil, err
	}
	var all []PodStatus
	for _, p := range pods.Items {
		s := PodStatus{Name: p.Metadata.Name}
		s.Ready, s.Message = ready(p.Status.Conditions)
		if s.Message == "" {
			s.Message = p.Status.Phase
		}
		ob.containers(ctx, p.Status.ContainerStatuses, &s)
		all = append(all, s)
	}
	return all, nil
}

type containerStatus struct {
	ContainerID string
	State       struct {
		Running *struct{ StartedAt time.Time }
		Waiting *struct{ Reason, Message string }
	}
}

func (ob *Observer) containers(ctx context.Context, statuses []containerStatus, s *PodStatus) {
	var ids []string
	for _, c := range statuses {
		if w := c.State.Waiting; w != nil {
			s.Message = strings.TrimSpace(w.Reason + " " + w.Message)
		}
		if c.State.Running != nil && c.State.Running.StartedAt.After(s.Started) {
			s.Started = c.State.Running.StartedAt
		}
		// "containerd://<id>"
		if _, id, ok := strings.Cut(c.ContainerID, "://"); ok {
			ids = append(ids, id)
		}
	}
	if ob.Runtime == nil || !s.Ready {
		return
	}
	switch running, err := ob.Runtime.Running(ctx, ids); {
	case err != nil: // Unknown: the times decide
	case running:
		s.Running = Yes
	default:
		s.Running = No
	}
}

// dataError asks the file system instead of writing to it: ext4 remounts itself
// read-only after an error, and a write each time would wear flash out.
func dataError(dir string) string {
	if dir == "" {
		return ""
	}
	var st unix.Statfs_t
	switch err := unix.Statfs(dir, &st); {
	case err != nil:
		return fmt.Sprintf("%s: %v", dir, err)
	case st.Flags&unix.ST_RDONLY != 0:
		return dir + " is read-only"
	case st.Bavail == 0 && st.Blocks > 0:
		return dir + " is full"
	}
	return ""
}
