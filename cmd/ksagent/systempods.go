package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kubesolo.io/os/internal/health"
)

// systemPod is what a trial looks at in a pod.
type systemPod struct {
	Metadata struct {
		Name              string
		CreationTimestamp time.Time
		DeletionTimestamp *time.Time
	}
	Status struct {
		Phase             string
		Conditions        []struct{ Type, Status, Message string }
		ContainerStatuses []struct {
			ContainerID string
			State       struct {
				Running *struct{ StartedAt time.Time }
				Waiting *struct{ Reason, Message string }
			}
		}
	}
}

// systemPods is an error that names the first pod of kube-system that is not ready
// in this boot. Its phase does not tell: that of a pod whose container ends again
// and again is Running, and all that the API has survives a restart. As with
// CoreDNS (package health) containerd says whether the containers run, and where
// it does not say, the time at which they started. One that has done its work is
// well, and one that is being deleted is none of the new version's. Nor is one that has
// failed and was made before this boot, as an evicted one: that phase is final, the
// pod that its controller makes in its place is what has to be ready.
func systemPods(ctx context.Context, api health.Getter, runtime health.Runtime, boot, now time.Time) error {
	var pods struct{ Items []systemPod }
	if err := api.Get(ctx, "/api/v1/namespaces/kube-system/pods", &pods); err != nil {
		return err
	}
	for _, p := range pods.Items {
		if p.Status.Phase == "Succeeded" || p.Metadata.DeletionTimestamp != nil {
			continue
		}
		if p.Status.Phase == "Failed" && !within(p.Metadata.CreationTimestamp, boot, now) {
			continue
		}
		if err := p.ready(); err != nil {
			return err
		}
		if !p.alive(ctx, runtime, boot, now) {
			return fmt.Errorf("%s is ready only by the status of an earlier boot", p.Metadata.Name)
		}
	}
	return nil
}

// ready is an error that says why the pod is not.
func (p systemPod) ready() error {
	message := p.Status.Phase
	for _, c := range p.Status.Conditions {
		if c.Type != "Ready" {
			continue
		}
		if c.Status == "True" && p.Status.Phase == "Running" {
			return nil
		}
		if c.Message != "" {
			message = c.Message
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			message = strings.TrimSpace(w.Reason + " " + w.Message)
		}
	}
	return errors.New(p.Metadata.Name + " is not ready: " + message)
}

// alive says whether the containers of a pod that is ready run in this boot.
func (p systemPod) alive(ctx context.Context, runtime health.Runtime, boot, now time.Time) bool {
	var ids []string
	var started time.Time
	for _, c := range p.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(c.ContainerID, "://"); ok {
			ids = append(ids, id)
		}
		if r := c.State.Running; r != nil && r.StartedAt.After(started) {
			started = r.StartedAt
		}
	}
	if runtime != nil {
		if runs, err := runtime.Running(ctx, ids); err == nil {
			return runs
		}
	}
	return within(started, boot, now)
}

// within says whether a time is of this boot. One from the future is of a boot whose
// clock was ahead.
func within(at, boot, now time.Time) bool {
	return at.After(boot) && at.Before(now.Add(time.Minute))
}
