package pods

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"

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
