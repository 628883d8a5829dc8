// Package pods is what the node does to pods without Kubernetes: see whether
// their containers run, and stop them all before the machine goes down.
//
// It talks to containerd, so it works when the API server is gone, and asks the
// kernel what containerd does not tell: whether a process hears SIGTERM, and
// whether it has ended when its shim does not answer. It deletes nothing:
// container records stay for the kubelet, which starts the pods again at the next
// boot. It is tested against a real containerd.
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

const (
	// killTimeout bounds the wait for a process after SIGKILL: it may hang in
	// the kernel, on a disk or a network file system that is gone.
	killTimeout = 5 * time.Second
	// deafGrace is what a process without a handler for SIGTERM has. The first
	// process of a pod never gets such a signal (pid_namespaces(7)): a shell, a
	// sleep or a small web server would take all of the grace, and leave the
	// shutdown no time for its end.
	deafGrace = 5 * time.Second
	lookEvery = 100 * time.Millisecond
)

// target is a container or sandbox with a process.
type target struct {
	id  string
	pid uint32
}

// Stop ends every container: SIGTERM, then SIGKILL for those that still run
// after grace, or do not hear SIGTERM, then the pods' sandboxes. Containers that
// somebody starts meanwhile are ended as well, so the kubelet should be stopped
// before. The error names containers that even SIGKILL did not end; ctx ends the
// wait at once.
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
		for _, c := range containers {
			seen[c.id] = true
		}
		count.Containers = len(seen)
		killed, alive := r.endAll(ctx, containers, deadline)
		count.Killed += killed
		if ctx.Err() != nil {
			return count, ctx.Err()
		}
		if len(alive) > 0 {
			return count, fmt.Errorf("containers %v do not end: their processes hang in the kernel", alive)
		}
	}
	_, sandboxes, err := r.running(ctx)
	if err != nil {
		return count, err
	}
	count.Sandboxes = len(sandboxes)
	// Pause has nothing to save.
	if _, alive := r.endAll(ctx, sandboxes, time.Now()); len(alive) > 0 {
		return count, errors.Join(ctx.Err(), fmt.Errorf("sandboxes %v do not end", alive))
	}
	return count, nil
}

// running lists what has a process, sandboxes apart from other containers.
func (r Runtime) running(ctx context.Context) (containers, sandboxes []target, err error) {
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
		p := openProcess(t.ID, t.Pid)
		switch {
		case t.Status == tasktypes.Status_STOPPED || p.ended():
		case isSandbox[t.ID]:
			sandboxes = append(sandboxes, target{t.ID, t.Pid})
		default:
			containers = append(containers, target{t.ID, t.Pid})
		}
		p.close()
	}
	return containers, sandboxes, nil
}

// endAll ends the targets beside each other: with SIGTERM until the deadline,
// then with SIGKILL. It returns how many were killed, and which live on.
func (r Runtime) endAll(ctx context.Context, targets []target, deadline time.Time) (killed int, alive []string) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, t := range targets {
		wg.Go(func() {
			kill, ended := r.end(ctx, t, deadline)
			mu.Lock()
			defer mu.Unlock()
			if kill {
				killed++
			}
			if !ended {
				alive = append(alive, t.id)
			}
		})
	}
	wg.Wait()
	return killed, alive
}

// end ends one target.
func (r Runtime) end(ctx context.Context, t target, deadline time.Time) (killed, ended bool) {
	p := openProcess(t.id, t.pid)
	defer p.close()
	begin := time.Now()
	if begin.Before(deadline) {
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		heard := p.hears(unix.SIGTERM)
		go r.kill(ctx, t, unix.SIGTERM)
		if r.await(ctx, t, p, func() bool {
			// A program that starts gets no signal before it has a handler: what
			// it missed is sent again.
			if !heard && p.hears(unix.SIGTERM) {
				heard = true
				go r.kill(ctx, t, unix.SIGTERM)
			}
			return heard || time.Since(begin) < deafGrace
		}) {
			return false, true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	go r.kill(ctx, t, unix.SIGKILL)
	return true, r.await(ctx, t, p, func() bool { return true })
}

// await waits for the end of the process as long as ctx lives and goOn, asked
// again and again, says so.
func (r Runtime) await(ctx context.Context, t target, p process, goOn func() bool) (ended bool) {
	told := make(chan struct{})
	go func() {
		if r.wait(ctx, t) {
			close(told)
		}
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-told:
			return true
		case <-ctx.Done():
			return p.ended()
		case <-look.C:
			if p.ended() {
				return true
			}
			if !goOn() {
				return false
			}
		}
	}
}

// kill sends a signal. An error is a container that is gone, or a shim or a
// containerd that is: what is waited for tells which. It takes as long as runc
// takes to start, and longer when the shim does not answer.
func (r Runtime) kill(ctx context.Context, t target, sig unix.Signal) {
	_, _ = r.Client.TaskService().Kill(ctx, &tasksapi.KillRequest{ContainerID: t.id, Signal: uint32(sig), All: sig == unix.SIGKILL})
}

// wait returns true as soon as containerd says that the process has ended, and
// asks again when it did not say anything, as while it starts again.
func (r Runtime) wait(ctx context.Context, t target) bool {
	for ctx.Err() == nil {
		_, err := r.Client.TaskService().Wait(ctx, &tasksapi.WaitRequest{ContainerID: t.id})
		if err == nil || errdefs.IsNotFound(errgrpc.ToNative(err)) {
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return false
}
