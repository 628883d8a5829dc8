package pods

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/containerdtest"
	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/ociimage"
	"kubesolo.io/os/internal/preload"
)

const busybox = "docker.io/library/busybox:latest"

// start runs a container with the image's own runc.
func start(t *testing.T, ctx context.Context, c *containerd.Client, id, script string, labels map[string]string) {
	t.Helper()
	image, err := c.GetImage(ctx, busybox)
	if err != nil {
		t.Fatal(err)
	}
	container, err := c.NewContainer(ctx, id,
		containerd.WithSnapshotter("overlayfs"),
		containerd.WithNewSnapshot(id, image),
		containerd.WithContainerLabels(labels),
		containerd.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs("sh", "-c", script)))
	if err != nil {
		t.Fatal(err)
	}
	task, err := container.NewTask(ctx, cio.NullIO)
	if err != nil {
		t.Fatal(err)
	}
	// Task.Wait before Start, so that the shim's process is cleaned up below.
	exited, err := task.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := task.Start(ctx); err != nil {
		t.Fatal(err)
	}
	// PID 1 of a namespace never gets a TERM that it has no trap for yet.
	for up := fmt.Sprintf("/proc/%d/root/up", task.Pid()); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(up); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
	}
	t.Cleanup(func() {
		ctx := namespaces.WithNamespace(context.Background(), namespace)
		_ = task.Kill(ctx, 9) // it may have ended, as it should
		<-exited
		if _, err := task.Delete(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestStop runs a container that ends at TERM, one that ignores it, one that
// has ended, and a sandbox.
func TestStop(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	client := containerdtest.Start(t, "containerd-shim-runc-v2", "runc")
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), namespace), time.Minute)
	defer cancel()
	importBusybox(t, client)
	r := Runtime{Client: client}

	none, err := r.Stop(t.Context(), time.Minute)
	if err != nil || none != (Stopped{}) {
		t.Errorf("with nothing to stop: %+v, %v", none, err)
	}

	const loop = "; echo up > /up; while :; do sleep 1 & wait $!; done"
	start(t, ctx, client, "polite", `trap "exit 0" TERM`+loop, nil)
	start(t, ctx, client, "deaf", `trap "" TERM`+loop, nil)
	start(t, ctx, client, "sandbox", `trap "" TERM`+loop, map[string]string{"io.cri-containerd.kind": "sandbox"})

	for _, tc := range []struct {
		ids  []string
		want bool
	}{{[]string{"polite"}, true}, {[]string{"polite", "deaf"}, true}, {[]string{"polite", "gone"}, false}, {nil, false}} {
		if got, err := r.Running(t.Context(), tc.ids); err != nil || got != tc.want {
			t.Errorf("running %v: %v, %v", tc.ids, got, err)
		}
	}
	count, err := r.Stop(t.Context(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Stopped{Containers: 2, Killed: 1, Sandboxes: 1}); count != want {
		t.Errorf("stopped %+v, want %+v", count, want)
	}
	for _, id := range []string{"polite", "deaf", "sandbox"} {
		if got, err := r.Running(t.Context(), []string{id}); err != nil || got {
			t.Errorf("%s runs: %v, %v", id, got, err)
		}
	}
}

// TestStopDoesNotWaitForTheDeaf: what cannot hear SIGTERM is ended long before
// the grace is over, a program that begins to hear it gets it, and all of that
// also with a containerd that has died meanwhile.
func TestStopDoesNotWaitForTheDeaf(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	d := containerdtest.StartDaemon(t, "containerd-shim-runc-v2", "runc")
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), namespace), 5*time.Minute)
	defer cancel()
	importBusybox(t, d.Client)
	start(t, ctx, d.Client, "deaf", "echo up > /up; sleep 1000; exit", nil)
	start(t, ctx, d.Client, "late", `echo up > /up; sleep 2; trap "exit 0" TERM; while :; do sleep 1 & wait $!; done`, nil)
	start(t, ctx, d.Client, "polite", `trap "exit 0" TERM; echo up > /up; while :; do sleep 1 & wait $!; done`, nil)
	d.Crash(t)
	const grace = 4 * time.Minute
	begin := time.Now()
	count, err := Runtime{Client: d.Client}.Stop(ctx, grace)
	if want := (Stopped{Containers: 3, Killed: 1}); err != nil || count != want {
		t.Errorf("stopped %+v, %v; want %+v", count, err, want)
	}
	if took := time.Since(begin); took > grace/2 {
		t.Errorf("it waited %v for what hears nothing", took)
	}
}

// TestEndWithoutTheShim: a process whose shim says nothing has ended when the
// kernel says so.
func TestEndWithoutTheShim(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	client := containerdtest.Start(t, "containerd-shim-runc-v2", "runc")
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), namespace), 5*time.Minute)
	defer cancel()
	importBusybox(t, client)
	start(t, ctx, client, "alone", `trap "exit 0" TERM; echo up > /up; while :; do sleep 1 & wait $!; done`, nil)
	r := Runtime{Client: client}
	list, _, err := r.running(ctx)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	shim := parent(t, list[0].pid)
	if err := unix.Kill(shim, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(shim, unix.SIGCONT) }()
	if err := unix.Kill(int(list[0].pid), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	const grace = 4 * time.Minute
	begin := time.Now()
	killed, ended := r.end(ctx, list[0], begin.Add(grace))
	if took := time.Since(begin); killed || !ended || took > grace/2 {
		t.Errorf("killed %v, ended %v after %v", killed, ended, took)
	}
}

// parent of a process of this machine.
func parent(t *testing.T, pid uint32) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// PID (NAME) STATE PPID; the name may hold anything.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	n, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTakes(t *testing.T) {
	for status, want := range map[string]bool{
		"SigBlk:\t0000000000000000\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n": false, // ignored
		"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000004002\n": true,
		"SigBlk:\tfffffffe7ffbfeff\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n": true,  // tini, dumb-init
		"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\tfffffffffffb3eff\n": false, // all but 15
		"SigCgt:\tnonsense\n": true,
		"":                    false,
	} {
		if got := takes(status, unix.SIGTERM); got != want {
			t.Errorf("%q: %v", status, got)
		}
	}
}

func importBusybox(t *testing.T, client *containerd.Client) {
	t.Helper()
	bin, out := t.TempDir(), t.TempDir()
	body, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pause", "coredns", "local-path-provisioner"} {
		if err := os.WriteFile(filepath.Join(bin, name), body, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ociimage.Build(t.Context(), ociimage.Options{Bin: bin, Busybox: "/bin/busybox", Out: out}); err == nil {
		t.Fatal("an image of the year 1 was built")
	}
	if _, err := ociimage.Build(t.Context(), ociimage.Options{Bin: bin, Busybox: "/bin/busybox", Out: out, Time: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := preload.Once(t.Context(), preload.Options{Client: client, Dir: out}); err != nil {
		t.Fatal(err)
	}
}
