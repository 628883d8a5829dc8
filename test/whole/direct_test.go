package whole

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// arguments of a direct boot, with what is said on the console not cut.
const arguments = "console=ttyS0,115200 panic=10 printk.devkmsg=on loglevel=4"

func regexpMatch(t *testing.T, re, text string) bool {
	t.Helper()
	return regexp.MustCompile(re).MatchString(text)
}

// TestNoNetwork boots without a network device, in 1970, with a disk that is
// not ours and a kernel argument that is not known: all together must not keep
// the node from Ready, and the disk must stay as it is.
func TestNoNetwork(t *testing.T) {
	kernel := artefact(t, "vmlinuz")
	foreign := emptyDisk(t, "foreign.img", 1)
	command(t, "mkfs.ext4", "-q", "-L", "PHOTOS", foreign)
	before := hashFile(t, foreign)
	n := boot(t, vmtest.Config{
		Name: "no-network", Kernel: kernel, Initrd: artefact(t, "kubesolo-os.gz"),
		Append: arguments + " kubesolo.hostnam=x", Memory: 3072,
		Disks: []vmtest.Disk{{Path: foreign}}, Extra: rtc("1970-01-01"),
	})
	n.testClock(t, "it showed 1970-01-01")
	said := n.Transcript()
	if !regexpMatch(t, `kubesolo\.hostnam\b.*kubesolo\.hostname`, said) {
		t.Error("no line names the unknown argument and the nearest known one")
	}
	if !regexpMatch(t, `(?i)PHOTOS`, said) {
		t.Error("no line names the foreign disk")
	}
	n.shutDown(t)
	if hashFile(t, foreign) != before {
		t.Error("the foreign disk was written to")
	}
}

// TestBadCloudInit boots with a configuration file that is not YAML on the
// data partition: it is named with its line, and the services start. The
// partition is named by its label, so the blank disk before it is not taken.
func TestBadCloudInit(t *testing.T) {
	kernel := artefact(t, "vmlinuz")
	files := t.TempDir()
	if err := os.MkdirAll(filepath.Join(files, "etc-kubesolo"), 0o755); err != nil {
		t.Fatal(err)
	}
	bad := "#cloud-config\nhostname: ok\nnetwork: [unclosed\n"
	if err := os.WriteFile(filepath.Join(files, "etc-kubesolo", "cloud-init.yaml"), []byte(bad), 0o644); err != nil {
		t.Fatal(err)
	}
	blank, disk := emptyDisk(t, "blank.img", 1), emptyDisk(t, "data.img", 2)
	before := hashFile(t, blank)
	command(t, "mkfs.ext4", "-q", "-L", "KSOLODATA", "-d", files, disk)
	vm := vmtest.Run(t, vmtest.Config{
		Name: "bad-cloud-init", Kernel: kernel, Initrd: artefact(t, "kubesolo-os.gz"), Append: arguments + " kubesolo.data=LABEL=KSOLODATA",
		Disks: []vmtest.Disk{{Path: blank}, {Path: disk}}, NIC: &vmtest.NIC{Restrict: true},
	})
	if _, err := vm.Expect(`cloud-init\.yaml.*line \d`, 3*time.Minute); err != nil {
		t.Fatal(err)
	}
	n := &node{VM: vm}
	n.waitEvent(t, 5*time.Minute, func(e event.Event) bool {
		return e.Type == event.Service && e.Name == "kubesolo" && e.State == "running"
	})
	n.waitEvent(t, time.Minute, func(e event.Event) bool {
		return e.Type == event.Step && e.Name == "data" && e.State == "ok" && regexpMatch(t, "^/dev/vdb .*mounted", e.Message)
	})
	n.shutDown(t)
	mustBeClean(t, disk)
	if hashFile(t, blank) != before {
		t.Error("the blank disk was written to")
	}
}
