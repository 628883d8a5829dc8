package blockdev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func devices() []Device {
	return []Device{
		{Path: "/dev/sda", Name: "sda", TableType: "gpt", Size: 32 << 30, Partitions: 2},
		{Path: "/dev/sda1", Name: "sda1", Parent: "sda", FSType: "vfat", Label: "KSOLOEFI", UUID: "CAFE-1234", PartLabel: "KSOLOEFI", PartUUID: "aabb-01", Size: 256 << 20},
		{Path: "/dev/sda4", Name: "sda4", Parent: "sda", FSType: "ext4", Label: "KSOLODATA", UUID: "01234567-89ab", PartLabel: "KSOLODATA", PartUUID: "aabb-04", Size: 30 << 30},
		{Path: "/dev/sdb4", Name: "sdb4", Parent: "sdb", FSType: "ext4", Label: "KSOLODATA", PartLabel: "KSOLODATA", Removable: true, Size: 3 << 30},
		{Path: "/dev/loop0", Name: "loop0", FSType: "squashfs", Size: 1 << 20},
	}
}

func TestFind(t *testing.T) {
	for spec, want := range map[string]string{
		"": "sda4", "auto": "sda4", "/dev/sda1": "sda1", "/dev//sda1": "sda1", "LABEL=KSOLOEFI": "sda1", "UUID=cafe-1234": "sda1",
		"PARTLABEL=KSOLODATA": "sda4", "PARTUUID=AABB-01": "sda1", `LABEL="KSOLOEFI"`: "sda1",
	} {
		if d, err := Find(devices(), spec); err != nil || d.Name != want {
			t.Errorf("%s: %s, %v", spec, d.Name, err)
		}
	}
	for _, bad := range []string{"sda1", "LABLE=x", "LABEL=", "LABEL"} {
		if _, err := Find(devices(), bad); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "want auto") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	_, err := Find(devices(), "LABEL=OTHER")
	const text = "no file system with label OTHER: no such device; seen: sda gpt disk 32 GiB, sda1 vfat KSOLOEFI 256 MiB, sda4 ext4 KSOLODATA 30 GiB, sdb4 ext4 KSOLODATA 3072 MiB"
	if err == nil || err.Error() != text {
		t.Errorf("got  %v\nwant %s", err, text)
	}
	if _, err := Find(nil, "auto"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no disk at all") {
		t.Errorf("%v", err)
	}
	two := devices()
	two[3].Removable = false
	if _, err := Find(two, "auto"); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), "sda4") || !strings.Contains(err.Error(), "sdb4") {
		t.Errorf("%v", err)
	}
	unlabelled := devices()[:3]
	unlabelled[2].Label = ""
	if d, err := Find(unlabelled, "auto"); err != nil || d.Name != "sda4" {
		t.Errorf("by partition name: %v %v", d, err)
	}
}

// addDisk makes a disk of a fake sysfs whose device is a file.
func addDisk(t *testing.T, root, name, parent string, files map[string]string, content []byte) {
	t.Helper()
	dir := filepath.Join(root, "sys/devices", parent, name)
	link := filepath.Join(root, "sys/class/block", name)
	for _, d := range []string{dir, filepath.Dir(link), filepath.Join(root, "dev")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, k)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, k), []byte(v+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if content != nil {
		if err := os.WriteFile(filepath.Join(root, "dev", name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
}

func TestScan(t *testing.T) {
	root := t.TempDir()
	disk := make([]byte, 64<<10)
	copy(disk[440:], "\x01\x00\xfe\xca")
	disk[446+4], disk[446+8], disk[446+12], disk[510], disk[511] = 0x83, 1, 8, 0x55, 0xAA
	part := append([]byte("hsqs"), make([]byte, 4092)...)
	addDisk(t, root, "sda", "", map[string]string{"size": "128", "ro": "0", "removable": "1", "queue/logical_block_size": "4096", "holders/dm-0": ""}, disk)
	addDisk(t, root, "sda1", "sda", map[string]string{"size": "8", "ro": "1", "partition": "1", "start": "1"}, part)
	addDisk(t, root, "sr0", "", map[string]string{"size": "8"}, nil)
	addDisk(t, root, "sdb", "", map[string]string{"size": "0"}, nil)
	addDisk(t, root, "zram0", "", map[string]string{"size": "8"}, part)
	devs, err := Scan(filepath.Join(root, "sys"), filepath.Join(root, "dev"))
	if err != nil || len(devs) != 3 {
		t.Fatalf("%v %v", devs, err)
	}
	a, p, r := devs[0], devs[1], devs[2]
	if a.Name != "sda" || a.TableType != "dos" || a.Partitions != 1 || !a.Removable || a.SectorSize != 4096 || a.Size != 65536 || len(a.Holders) != 1 {
		t.Errorf("%+v", a)
	}
	if p.Parent != "sda" || p.Number != 1 || p.Start != 512 || !p.ReadOnly || !p.Removable || p.FSType != "squashfs" || p.PartUUID != "cafe0001-01" {
		t.Errorf("%+v", p)
	}
	if !errors.Is(r.Err, os.ErrNotExist) {
		t.Errorf("%+v", r)
	}
}

// A disk that appears while Wait waits, without an event, is found.
func TestWaitForLateDisk(t *testing.T) {
	root := t.TempDir()
	part := append([]byte("hsqs"), make([]byte, 4092)...)
	addDisk(t, root, "sda", "", map[string]string{"size": "8"}, part)
	sys, dev := filepath.Join(root, "sys"), filepath.Join(root, "dev")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	scans := 0
	d, _, err := Wait(ctx, sys, dev, "PARTUUID=nope", func([]Device) bool { scans++; return scans == 2 })
	if !errors.Is(err, ErrNotFound) || scans != 2 {
		t.Errorf("%v, %v after %d scans", d, err, scans)
	}
	scans = 0
	d, _, err = Wait(ctx, sys, dev, "LABEL=LATE", func([]Device) bool {
		if scans++; scans == 1 {
			sb := make([]byte, 4096)
			copy(sb[1024+56:], "\x53\xef")
			sb[1024+4] = 1
			copy(sb[1024+120:], "LATE")
			addDisk(t, root, "sdb", "", map[string]string{"size": "8"}, sb)
		}
		return false
	})
	if err != nil || d.Name != "sdb" {
		t.Errorf("%v %v", d, err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := Wait(ctx, sys, dev, "LABEL=NEVER", nil); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "sda squashfs") {
		t.Errorf("%v", err)
	}
}
