package whole

import (
	"os"
	"path/filepath"
	"testing"

	"kubesolo.io/os/internal/vmtest"
)

// TestDiskImage boots a copy of the disk image by BIOS, which grows the data
// partition, and then by UEFI.
func TestDiskImage(t *testing.T) {
	image := artefact(t, "kubesolo-os-amd64.img")
	built := hashFile(t, image)
	disk := filepath.Join(t.TempDir(), "disk.img")
	command(t, "cp", "--sparse=always", image, disk)
	if err := os.Truncate(disk, 8<<30); err != nil {
		t.Fatal(err)
	}
	config := vmtest.Config{
		Name: "disk-bios", Disks: []vmtest.Disk{{Path: disk}},
		NIC: &vmtest.NIC{Forward: []int{apiPort}, Restrict: true},
	}
	first := t.Run("BIOS", func(t *testing.T) {
		n := boot(t, config)
		n.testHello(t)
		// The data partition has the whole disk: 8 GiB less 1.5 GiB for
		// the others and less what ext4 keeps for itself.
		size := n.privileged(t, "size", "df -m /host/var/lib/kubesolo | tail -n 1")
		if !regexpMatch(t, ` [56]\d\d\d +\d+ +\d+ `, size) {
			t.Errorf("the data partition has not grown: %s", size)
		}
		n.shutDown(t)
		mustBeClean(t, disk)
	})
	if !first {
		return
	}
	t.Run("UEFI", func(t *testing.T) {
		config.Name, config.UEFI = "disk-uefi", true
		n := boot(t, config)
		n.waitPhase(t, "hello", "Running")
		n.shutDown(t)
		mustBeClean(t, disk)
	})
	if hashFile(t, image) != built {
		t.Error("the artefact was changed")
	}
}
