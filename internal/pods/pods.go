// Package pods is what the node does to pods without Kubernetes: see whether
// their containers run, and stop them all before the machine goes down.
//
// It talks to containerd alone, so it works when the API server is gone. It
// deletes nothing: container records stay for the kubelet, which starts the pods
// again at the next boot. It is tested against a real containerd.
package pods

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
)

// namespace is containerd's namespace of Kubernetes' containers.
const namespace = "k8s.io"

// Runtime is the containerd of this node.
type Runtime struct {
	Client *containerd.Client
}

// Running says whether all of these containers have a process now. The error
// means that containerd did not tell.
func (r Runtime) Running(ctx context.Context, ids []string) (bool, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	for _, id := range ids {
		resp, err := r.Client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: id})
		if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("container %s: %w", id, err)
		}
		if resp.Process.Status != tasktypes.Status_RUNNING {
			return false, nil
		}
	}
	return len(ids) > 0, nil
}

// Stopped counts what Stop did.
type Stopped struct {
	Containers int // ended, killed ones included
	Killed     int // did not end in time
	Sandboxes  int // pause containers, ended last
}

// killTimeout bounds the wait for a process after SIGKILL: it may hang in the
// kernel, on a disk or a network file system that is gone.
const killTimeout = 5 * time.Second

// Stop ends every container: SIGTERM, then SIGKILL for those that still run
// after grace, then the pods' sandboxes. Containers that somebody starts
// meanwhile are ended as well, so the kubelet should be stopped before. The
// error names containers that even SIGKILL did not end; ctx ends the wait at
// once.
func (r Runtime) Stop(ctx context.Context, grace time.Duration) (Stopped, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	var count Stopped
	deadline := time.Now().Add(grace)
	seen := make(map[string]bool)
	for {
		containers, _, err := r.running(ctx)
		if err != nil {
			return count, err
		}
		if len(containers) == 0 {
			break
		}
		sig := unix.SIGTERM
		left := time.Until(deadline)
		if left <= 0 {
			sig, left = unix.SIGKILL, killTimeout
			count.Killed += len(containers)
		}
		for _, id := range containers {
			if !seen[id] {
				seen[id] = true
				count.Containers++
			}
		}
		alive := r.end(ctx, containers, sig, left)
		if ctx.Err() != nil {
			return count, ctx.Err()
		}
		if sig == unix.SIGKILL && len(alive) > 0 {
			return count, fmt.Errorf("containers %v do not end: their processes hang in the kernel", alive)
		}
	}
	_, sandboxes, err := r.running(ctx)
	if err != nil {
		return count, err
	}
	count.Sandboxes = len(sandboxes)
	// Pause ends at once at SIGTERM, and has nothing to save.
	if alive := r.end(ctx, sandboxes, unix.SIGKILL, killTimeout); len(alive) > 0 {
		return count, errors.Join(ctx.Err(), fmt.Errorf("sandboxes %v do not end", alive))
	}
	return count, nil
}

// running lists what has a process, sandboxes apart from other containers.
func (r Runtime) running(ctx context.Context) (containers, sandboxes []string, err error) {
	// The label of CRI (containerd, internal/cri/labels).
	list, err := r.Client.ContainerService().List(ctx, `labels."io.cri-containerd.kind"==sandbox`)
	if err != nil {
		return nil, nil, fmt.Errorf("list sandboxes: %w", err)
	}
	isSandbox := make(map[string]bool)
	for _, c := range list {
		isSandbox[c.ID] = true
	}
	tasks, err := r.Client.TaskService().List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil {
		return nil, nil, fmt.Errorf("list tasks: %w", errgrpc.ToNative(err))
	}
	for _, t := range tasks.Tasks {
		switch {
		case t.Status == tasktypes.Status_STOPPED:
		case isSandbox[t.ID]:
			sandboxes = append(sandboxes, t.ID)
		default:
			containers = append(containers, t.ID)
		}
	}
	return containers, sandboxes, nil
}

// end signals the containers and waits until all have ended or the time is
// over. It returns those that have not.
func (r Runtime) end(ctx context.Context, ids []string, sig unix.Signal, limit time.Duration) []string {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tasks := r.Client.TaskService()
	alive := make([]string, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			// An error here is a container that is gone, or a containerd that is:
			// Wait tells which.
			_, _ = tasks.Kill(ctx, &tasksapi.KillRequest{ContainerID: id, Signal: uint32(sig), All: sig == unix.SIGKILL})
			if _, err := tasks.Wait(ctx, &tasksapi.WaitRequest{ContainerID: id}); err != nil && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
				alive[i] = id
			}
		})
	}
	wg.Wait()
	var left []string
	for _, id := range alive {
		if id != "" {
			left = append(left, id)
		}
	}
	return left
}
