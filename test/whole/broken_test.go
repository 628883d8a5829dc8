// What a node does whose image or data disk is broken: a program that is not
// there or ends at once, a module that is not there, a data disk whose file
// system cannot be mounted. Each is one clear line on the console that names
// the thing and the way out, the boot goes on with what is left, and nothing on
// the disk is written.

package whole

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/u-root/u-root/pkg/cpio"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// brokenImage is the real initramfs with a root that change has been at, a
// second /root.squashfs over the first.
func brokenImage(t *testing.T, change func(root string)) string {
	t.Helper()
	image := artefact(t, "kubesolo-os.gz")
	dir := t.TempDir()
	root, packed, initrd := filepath.Join(dir, "root"), filepath.Join(dir, "root.squashfs"), filepath.Join(dir, "initrd")
	command(t, "unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-dest", root, artefact(t, "root.squashfs"))
	change(root)
	// Quick, and what the image's own kernel can read.
	command(t, "mksquashfs", root, packed, "-quiet", "-no-progress", "-all-root", "-comp", "zstd", "-Xcompression-level", "1")
	record, err := cpio.NewRecorder().GetRecord(packed)
	if err != nil {
		t.Fatal(err)
	}
	record.Name = "root.squashfs"
	if err := vmtest.WriteInitramfs(initrd, image, []cpio.Record{record}); err != nil {
		t.Fatal(err)
	}
	return initrd
}

// corruptDisk is an ext4 of ours with a good superblock over group descriptors,
// an inode table and a journal that are noise.
func corruptDisk(t *testing.T) string {
	t.Helper()
	disk := emptyDisk(t, "data.img", 1)
	command(t, "mkfs.ext4", "-q", "-b", "4096", "-L", "KSOLODATA", disk)
	table := regexp.MustCompile(`Inode table at (\d+)`).FindStringSubmatch(command(t, "dumpe2fs", disk))
	journal := strings.Fields(command(t, "debugfs", "-R", "blocks <8>", disk))
	noise := make([]byte, 4*4096)
	_, _ = rand.Read(noise) // never fails
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, block := range []string{"1", table[1], journal[len(journal)-1]} {
		n, err := strconv.ParseInt(block, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(noise, n*4096); err != nil {
			t.Fatal(err)
		}
	}
	if out := command(t, "blkid", "-p", disk); !strings.Contains(out, "KSOLODATA") {
		t.Fatalf("the superblock is not what it should be: %s", out)
	}
	return disk
}

// TestBrokenImage boots with three things broken at once: ksagent is not in
// the image, a module in the list of those to load is not either, and the data
// disk cannot be mounted. Kubernetes comes up all the same, from memory.
func TestBrokenImage(t *testing.T) {
	kernel, disk := artefact(t, "vmlinuz"), corruptDisk(t)
	before := hashFile(t, disk)
	initrd := brokenImage(t, func(root string) {
		if err := os.Remove(filepath.Join(root, "usr/local/bin/ksagent")); err != nil {
			t.Fatal(err)
		}
		list, err := os.OpenFile(filepath.Join(root, "etc/kubesolo-os/modules"), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := list.WriteString("no_such_module\n"); err != nil {
			t.Fatal(err)
		}
		if err := list.Close(); err != nil {
			t.Fatal(err)
		}
	})
	// Memory: two roots are in the initramfs, and the node's data are in memory.
	n := &node{VM: vmtest.Run(t, vmtest.Config{
		Name: "broken-image", Kernel: kernel, Initrd: initrd, Append: arguments, Memory: 3072,
		Disks: []vmtest.Disk{{Path: disk}}, NIC: &vmtest.NIC{Forward: []int{apiPort}, Restrict: true},
	})}
	expect(t, n.VM, `boot: \d+ steps`)
	n.saidOnce(t, `degraded +data: in memory.*/dev/vda: .*damaged.*runs from memory.*e2fsck`)
	n.saidOnce(t, `degraded +modules: .*no_such_module: no such module .*modules\.list`)
	n.saidOnce(t, `degraded +services: .*service ksagent: /usr/local/bin/ksagent is not in this image: rebuild`)
	n.waitEvent(t, podLimit, func(e event.Event) bool {
		return e.Type == event.Service && e.Name == "kubesolo" && e.State == "running"
	})
	n.testReadyz(t)
	// By then it was tried a few times.
	n.saidOnce(t, `degraded +service ksagent: start /usr/local/bin/ksagent: no such file .*: rebuild`)
	n.shutDown(t)
	n.testOrder(t)
	if hashFile(t, disk) != before {
		t.Error("the damaged disk was written to")
	}
}

// saidOnce: exactly one line of ksinit on the console matches.
func (n *node) saidOnce(t *testing.T, line string) {
	t.Helper()
	said := regexp.MustCompile(`(?m)^\[ *[\d.]+\] `+line).FindAllString(n.Transcript(), -1)
	if len(said) != 1 {
		t.Errorf("%d lines match %q", len(said), line)
	}
}

// testReadyz: the API server says that it is ready. Nobody hands out the
// administrator's kubeconfig when ksagent is missing; /readyz needs none.
func (n *node) testReadyz(t *testing.T) {
	t.Helper()
	port, err := n.Forwarded(t.Context(), apiPort)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its authority is in that kubeconfig
	}}
	defer client.CloseIdleConnections()
	n.eventually(t, readyLimit, "/readyz", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/readyz", port), nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || string(body) != "ok" {
			return fmt.Errorf("%s: %s, %w", response.Status, bytes.TrimSpace(body), err)
		}
		return nil
	})
}

// TestServiceExits boots with a kubesolo that ends at once, again and again.
// The console says why, the restarts get further apart, and the rest of the
// node works and ends in order.
func TestServiceExits(t *testing.T) {
	kernel := artefact(t, "vmlinuz")
	initrd := brokenImage(t, func(root string) {
		script := "#!/bin/sh\necho cannot work today >&2\nexit 3\n"
		if err := os.WriteFile(filepath.Join(root, "usr/local/bin/kubesolo"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	})
	n := &node{VM: vmtest.Run(t, vmtest.Config{
		Name: "service-exits", Kernel: kernel, Initrd: initrd, Append: arguments + " kubesolo.nopersist", Memory: 3072,
	})}
	for _, wait := range []string{"1s", "2s", "4s"} {
		n.waitEvent(t, podLimit, func(e event.Event) bool {
			return e.Type == event.Service && e.Name == "kubesolo" && e.State == "backoff" && e.Message == "next start in "+wait
		})
	}
	n.waitEvent(t, podLimit, func(e event.Event) bool {
		return e.Type == event.Service && e.Name == "containerd" && e.State == "ready"
	})
	n.saidOnce(t, `degraded +service kubesolo: exit status 3; last output: cannot work today\r?$`)
	n.shutDown(t)
	n.testOrder(t)
	if i := slices.IndexFunc(n.EventsSoFar(), func(e event.Event) bool {
		return e.Type == event.Service && e.Name == "containerd" && (e.State == "exited" || e.State == "failed")
	}); i >= 0 {
		t.Errorf("containerd did not go on running: %+v", n.EventsSoFar()[i])
	}
}
