package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/image"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/kubeapi"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/policy"
	"kubesolo.io/os/internal/vmtest"
)

// newer is what the image calls itself when it is installed over itself.
const newer = "99.0.0"

// updates measures one update of an installed node to the same image: how fast it
// is written, what the agent needs for that, and how long the node is down.
func (b *bench) updates(ctx context.Context) error {
	fmt.Fprintln(b.log, "an update of the disk image")
	size, url, stop, err := b.publish(ctx)
	if err != nil {
		return err
	}
	defer stop()
	disk, stick := filepath.Join(b.dir, "disk.img"), filepath.Join(b.dir, "cidata.img")
	user := filepath.Join(b.dir, "user-data")
	if err := os.WriteFile(user, []byte("#cloud-config\nupdate: {source: '"+url+"'}\n"), 0o644); err != nil {
		return err
	}
	run := tool.New(nil, time.Now()) // it finds mkfs.vfat for every user
	for _, argv := range [][]string{
		{"cp", "--sparse=always", filepath.Join(b.build, "kubesolo-os-amd64.img"), disk},
		{"mkfs.vfat", "-C", "-n", "CIDATA", stick, "2048"},
		{"mcopy", "-i", stick, user, "::user-data"},
	} {
		if err := run.Run(ctx, tool.Command{Name: argv[0], Args: argv[1:]}); err != nil {
			return err
		}
	}
	if err := os.Truncate(disk, 8<<30); err != nil {
		return err
	}
	config := vmtest.Config{Name: "bench-update", Disks: []vmtest.Disk{{Path: disk}, {Path: stick}}, Reboots: true,
		NIC: &vmtest.NIC{Forward: []int{apiPort}}, ProbeWith: filepath.Join(b.build, "vmlinuz")}
	vm, err := vmtest.Start(ctx, config, nil)
	if err != nil {
		return err
	}
	defer vm.PowerCut()
	ctx, cancel := context.WithTimeout(ctx, 4*limit)
	defer cancel()
	isReady := func(e event.Event) bool { return e.Type == event.Ready }
	if _, err := vm.WaitEvent(ctx, isReady); err != nil {
		return err
	}
	kubeconfig, err := vm.HostKubeconfig(ctx, apiPort)
	if err != nil {
		return err
	}
	api, err := kubeapi.Load(kubeconfig)
	if err != nil {
		return err
	}
	// The same bytes to the same partition, which holds the slot that does not run.
	blocks := (size + 1<<20 - 1) >> 20
	text, err := runPod(ctx, api, "dd", fmt.Sprintf("s=$(cut -d. -f1,2 /proc/uptime | cut -d' ' -f1); "+
		"dd if=/dev/zero of=/dev/vda3 bs=1M count=%d conv=fsync 2>/dev/null; echo took $s $(cut -d' ' -f1 /proc/uptime)", blocks))
	if err != nil {
		return err
	}
	dd, err := seconds(text)
	if err != nil {
		return err
	}
	var took [2]float64
	// What is staged waits for this label to go, so that the agent that brought it
	// can be looked at.
	if err := label(ctx, api, "true"); err != nil {
		return err
	}
	if err := b.order(ctx, api); err != nil {
		return err
	}
	for i, state := range []update.Phase{update.Downloading, update.Staged} {
		e, err := vm.WaitEvent(ctx, func(e event.Event) bool { return e.Type == event.Update && e.State == string(state) })
		if err != nil {
			return err
		}
		took[i] = e.Time
	}
	text, err = runPod(ctx, api, "agent", `sed -n "s/^VmHWM:[^0-9]*\([0-9]*\).*/took 0 \1/p" /proc/$(pidof ksagent)/status`)
	if err != nil {
		return err
	}
	peak, err := seconds(text) // KiB, in the same form
	if err != nil {
		return err
	}
	if err := label(ctx, api, nil); err != nil {
		return err
	}
	if _, err := vm.WaitEvent(ctx, func(e event.Event) bool { return e.Type == event.Update && e.State == string(update.Armed) }); err != nil {
		return err
	}
	armed := time.Now()
	boots := 0 // events are searched from the beginning
	if _, err := vm.WaitEvent(ctx, func(e event.Event) bool {
		if isReady(e) {
			boots++
		}
		return boots == 2
	}); err != nil {
		return err
	}
	down := time.Since(armed)
	const mb = 1e6
	rate, raw := float64(size)/mb/(took[1]-took[0]), float64(size)/mb/dd
	b.add(figure{Name: "update: download, write, read back", Value: rate, Unit: "MB/s", Note: fmt.Sprintf("%.0f MB over HTTP, verified twice", float64(size)/mb)})
	b.add(figure{Name: "dd of as many bytes to that slot", Value: raw, Unit: "MB/s", Note: fmt.Sprintf("%.2f x the update's rate", raw/rate)})
	b.add(figure{Name: "ksagent at most, after the download", Value: peak * 1024 / mb, Unit: "MB", Note: "VmHWM"})
	b.add(figure{Name: "down for an update", Value: down.Seconds(), Unit: "s", Note: "from the order to restart until Ready in the other slot; " + string(vm.Accel)})
	return nil
}

// label sets the label of the node that holds updates back; nil takes it away.
func label(ctx context.Context, api *kubeapi.Client, value any) error {
	patch := map[string]any{"metadata": map[string]any{"labels": map[string]any{policy.BlockLabel: value}}}
	return api.Do(ctx, http.MethodPatch, "/api/v1/nodes/kubesolo", patch, nil)
}

func seconds(text string) (float64, error) {
	m := regexp.MustCompile(`took ([0-9.]+) ([0-9.]+)`).FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no figure in %q", text)
	}
	from, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, err
	}
	to, err := strconv.ParseFloat(m[2], 64)
	return to - from, err
}

// publish makes a repository with the image under a higher version, and serves it.
func (b *bench) publish(ctx context.Context) (size int64, url string, stop func(), err error) {
	slot, repository := filepath.Join(b.dir, "slot.squashfs"), filepath.Join(b.dir, "repository")
	err = image.WriteSlot(ctx, tool.New(nil, time.Now()), slot, image.SlotInfo{Version: newer, Architecture: "amd64"},
		filepath.Join(b.build, "vmlinuz"), filepath.Join(b.build, "kubesolo-os.gz"))
	if err != nil {
		return 0, "", nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./cmd/ksimage", "update", "--out", b.build, "--repository", repository, "--slot", slot)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, "", nil, fmt.Errorf("ksimage update: %w\n%s", err, out)
	}
	st, err := os.Stat(slot)
	if err != nil {
		return 0, "", nil, err
	}
	server := httptest.NewServer(http.FileServer(http.Dir(repository)))
	// 10.0.2.2 is this machine as QEMU's user-mode network shows it.
	return st.Size(), strings.Replace(server.URL, "127.0.0.1", "10.0.2.2", 1), server.Close, nil
}

// order asks for the update, once its resource is there.
func (b *bench) order(ctx context.Context, api *kubeapi.Client) error {
	object := map[string]any{"apiVersion": "os.kubesolo.io/v1alpha1", "kind": "OSUpdate",
		"metadata": map[string]any{"name": "bench"}, "spec": map[string]any{"version": newer}}
	for {
		err := api.Create(ctx, "/apis/os.kubesolo.io/v1alpha1/osupdates", object, nil)
		if err == nil || kubeapi.IsConflict(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(time.Second):
		}
	}
}
