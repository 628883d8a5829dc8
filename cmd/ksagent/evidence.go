package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/policy"
	"kubesolo.io/os/internal/update/window"
)

// evidence looks at the node as a trial is judged by.
func (u *updater) evidence(ctx context.Context) update.Evidence {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	u.mu.Lock()
	e := update.Evidence{Health: u.report}
	u.mu.Unlock()
	var err error
	if e.Engine, err = u.ksinit.Engine(ctx); err != nil {
		u.agent.log.Debug("trial", "err", err)
	}
	if e.Health.Ready() {
		e.Pods = text(u.pods(ctx))
	}
	e.Data = text(probeWrite(updateDir))
	if address := u.configuration().Probe; address != "" {
		e.Probe = text(probe(ctx, address))
	}
	e.Now = time.Now()
	return e
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// pods looks at the pods of kube-system.
func (u *updater) pods(ctx context.Context) error {
	api, err := u.source.client()
	if err != nil {
		return err
	}
	now := time.Now()
	return systemPods(ctx, api, u.runtime, now.Add(-time.Duration(event.Now()*float64(time.Second))), now)
}

func probe(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s, want 200", address, response.Status)
	}
	return nil
}

// gates says why what is staged has to wait.
func (u *updater) gates(ctx context.Context, s update.State) string {
	in := u.policy(ctx, s)
	in.Target = policy.Target{Version: s.Payload.Version, Released: s.Payload.Released, Rollout: s.Payload.Rollout}
	if s.Payload.From == update.MediumSource {
		in.Window = window.Window{} // somebody stands beside it
	} else if s.Window != "" {
		if w, err := window.Parse(s.Window); err == nil {
			in.Window = w
		}
	}
	in.Force = s.Forced
	// Whoever asked for it, or brought it, need not wait for the others.
	in.Waves = in.Waves && !s.Ordered
	var why []string
	for _, g := range policy.Closed(policy.Evaluate(in)) {
		// What the version itself has to be was decided when it was chosen.
		if slices.Contains([]string{policy.FreeSpace, policy.Label, policy.Wave, policy.Window}, g.Name) {
			why = append(why, g.Name+": "+g.Reason)
		}
	}
	return strings.Join(why, "; ")
}

// policy is what the gates know of this node.
func (u *updater) policy(ctx context.Context, s update.State) policy.Input {
	c := u.configuration()
	slots := u.engine.Status().Slots
	in := policy.Input{Now: time.Now(), Running: u.version, Architecture: architecture, Channel: c.Channel, Window: c.Window,
		Waves: c.Waves, SlotSize: slots.Passive.Size}
	if id, err := os.ReadFile("/etc/machine-id"); err == nil {
		in.MachineID = strings.TrimSpace(string(id))
	}
	for _, r := range s.Refused {
		in.Refused = append(in.Refused, policy.Refusal{Version: r.Version, Reason: r.Reason, At: r.Time})
	}
	in.Label, in.LabelErr = u.blockLabel(ctx)
	var st unix.Statfs_t
	if err := unix.Statfs(updateDir, &st); err == nil {
		in.FreeSpace = int64(st.Bavail) * st.Bsize
	}
	// As much as `kubesolo state copy` asks for.
	if info, err := os.Stat("/var/lib/kubesolo/kine/state.db"); err == nil {
		in.NeedSpace = 2*info.Size() + 64<<20
	}
	return in
}

// blockLabel reads the label by which an operator holds updates back. A node
// without a cluster has none.
func (u *updater) blockLabel(ctx context.Context) (string, error) {
	api, err := u.source.client()
	if err != nil {
		return "", err
	}
	var nodes struct {
		Items []struct {
			Metadata struct{ Labels map[string]string }
		}
	}
	if err := api.Get(ctx, "/api/v1/nodes", &nodes); err != nil {
		return "", err
	}
	for _, n := range nodes.Items {
		if v := n.Metadata.Labels[policy.BlockLabel]; v != "" {
			return v, nil
		}
	}
	return "", nil
}
