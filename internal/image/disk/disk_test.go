package disk_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/fatfile"
	"kubesolo.io/os/internal/gpt"
	"kubesolo.io/os/internal/image/disk"
	"kubesolo.io/os/internal/image/tool"
)

func host(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func write(t *testing.T, out string, slot, data []byte) {
	t.Helper()
	dir := t.TempDir()
	p := disk.Parts{Slot: filepath.Join(dir, "slot"), Data: filepath.Join(dir, "data"), Work: filepath.Join(dir, "work")}
	for name, b := range map[string][]byte{p.Slot: slot, p.Data: data} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Write(context.Background(), tool.New(nil, time.Unix(1700000000, 0)), out, p); err != nil {
		t.Fatal(err)
	}
}

// Foreign tools read the image: sfdisk the table, mdir and fsck.fat partition 1.
func TestWrite(t *testing.T) {
	out := filepath.Join(t.TempDir(), "disk.img")
	slot, data := bytes.Repeat([]byte("slot"), 5000), append(make([]byte, 3<<20), "data"...)
	write(t, out, slot, data)

	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, damage, err := gpt.Read(f, fi.Size(), 512)
	if err != nil || damage.Any() {
		t.Fatalf("%v, %+v", err, damage)
	}
	if last, _ := table.Last(); last.Name != gpt.NameData || last.Number != 4 {
		t.Errorf("the last partition is %s (%d), the node could not grow it", last.Name, last.Number)
	}
	for number, want := range map[int][]byte{2: slot, 3: slot, 4: data} {
		p, _ := table.Find(number)
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, int64(p.First)*512); err != nil || !bytes.Equal(got, want) {
			t.Errorf("partition %s does not hold its content, %v", p.Name, err)
		}
	}
	if text := host(t, "sfdisk", "--verify", out); !strings.Contains(text, "No errors detected") {
		t.Errorf("sfdisk: %s", text)
	}

	efi, _ := table.Find(1)
	part := filepath.Join(t.TempDir(), "efi.img")
	b := make([]byte, int64(efi.Sectors())*512)
	if _, err := f.ReadAt(b, int64(efi.First)*512); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(part, b, 0o644); err != nil {
		t.Fatal(err)
	}
	host(t, "fsck.fat", "-n", part)
	if text := host(t, "mdir", "-b", "-/", "-i", part, "::"); !strings.Contains(text, "::/EFI/BOOT/BOOTX64.EFI") ||
		!strings.Contains(text, "::/boot/grub/grub.cfg") || !strings.Contains(text, "::/boot/grub/env2") {
		t.Errorf("partition 1 holds:\n%s", text)
	}
	checkBIOS(t, f, table)
	checkCopies(t, b)
}

// checkCopies finds the slot state as a node does.
func checkCopies(t *testing.T, efi []byte) {
	t.Helper()
	var copies abslot.Copies
	var at []int64
	for i, path := range []string{"/boot/grub/env1", "/boot/grub/env2"} {
		found, err := fatfile.Find(bytes.NewReader(efi), int64(len(efi)), path)
		if err != nil || len(found.Extents) != 1 {
			t.Fatalf("%+v, %v", found, err)
		}
		at = append(at, found.Extents[0].Offset)
		copies[i] = efi[at[i]:][:found.Size]
	}
	want := abslot.First(abslot.A)
	if s, _, err := copies.Choose(); err != nil || s != want || !bytes.Equal(copies[0], copies[1]) {
		t.Errorf("the disk begins with %v, %v", s, err)
	}
	if at[1]-at[0] < 256<<10 {
		t.Errorf("the copies are at bytes %v: one damage hits both", at)
	}
}

// checkBIOS follows the boot code as the firmware would: sector 0 names the core image's
// first sector, that one the rest.
func checkBIOS(t *testing.T, f *os.File, table *gpt.Table) {
	t.Helper()
	var mbr, core [512]byte
	bios, _ := table.Find(5)
	if _, err := f.ReadAt(mbr[:], 0); err != nil {
		t.Fatal(err)
	}
	at := binary.LittleEndian.Uint64(mbr[0x5c:])
	if at != bios.First || mbr[510] != 0x55 || mbr[511] != 0xaa || mbr[450] != 0xee {
		t.Errorf("sector 0: core image at %d, want %d; signature % x, type %#x", at, bios.First, mbr[510:], mbr[450])
	}
	if _, err := f.ReadAt(core[:], int64(at)*512); err != nil {
		t.Fatal(err)
	}
	if next := binary.LittleEndian.Uint64(core[0x1f4:]); next != bios.First+1 {
		t.Errorf("rest of the core image at %d, want %d", next, bios.First+1)
	}
	if n := binary.LittleEndian.Uint16(core[0x1fc:]); n < 100 || uint64(n) >= bios.Sectors() {
		t.Errorf("rest of the core image has %d sectors, the partition %d", n, bios.Sectors())
	}
}

func TestTheSameBytesEveryTime(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, []byte("slot"), []byte("data"))
	write(t, b, []byte("slot"), []byte("data"))
	host(t, "cmp", a, b)
}

func TestSlotTooBig(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 513<<20); err != nil {
		t.Fatal(err)
	}
	err := disk.Write(context.Background(), tool.New(nil, time.Unix(1700000000, 0)), filepath.Join(dir, "out"),
		disk.Parts{Slot: big, Data: big, Work: filepath.Join(dir, "work")})
	if err == nil || !strings.Contains(err.Error(), "a slot holds") {
		t.Errorf("error = %v", err)
	}
}
