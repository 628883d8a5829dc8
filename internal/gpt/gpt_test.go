package gpt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

const mib = 1 << 20

// disk is a byte slice with the io interfaces, and it can lose power: after
// budget bytes every write is cut short and fails.
type disk struct {
	b      []byte
	budget int
}

var errPower = errors.New("power cut")

func newDisk(size int) *disk { return &disk{b: make([]byte, size), budget: 1 << 40} }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(d.b)) {
		return 0, io.EOF
	}
	n := copy(p, d.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	n := min(len(p), d.budget)
	copy(d.b[off:], p[:n])
	d.budget -= n
	if n < len(p) {
		return n, errPower
	}
	return n, nil
}

func guid(n int) GUID {
	return MustGUID(fmt.Sprintf("00000000-1111-4222-8333-%012d", n))
}

func specs() []Spec {
	return []Spec{
		{Number: 5, Type: MustGUID(TypeBIOSBoot), ID: guid(5), Name: NameBIOSBoot, Size: mib},
		{Number: 1, Type: MustGUID(TypeEFI), ID: guid(1), Name: NameEFI, Size: 4 * mib},
		{Number: 2, Type: MustGUID(TypeLinux), ID: guid(2), Name: NameSlotA, Size: 2 * mib},
		{Number: 3, Type: MustGUID(TypeLinux), ID: guid(3), Name: NameSlotB, Size: 2 * mib},
		{Number: 4, Type: MustGUID(TypeLinux), ID: guid(4), Name: NameData},
	}
}

func build(t testing.TB, size int64, sector int) *Table {
	t.Helper()
	table, err := Build(guid(9), size, sector, specs())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestGUID(t *testing.T) {
	const s = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	g := MustGUID(s)
	if g.String() != s || g[0] != 0x28 || g[4] != 0x1F || g[8] != 0xBA {
		t.Errorf("got %s, % x", g, g[:])
	}
	for _, bad := range []string{"", s[1:], strings.Replace(s, "-", "0", 1), "Z" + s[1:], s[:8] + s[8:35] + "-"} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("ParseGUID(%q) is no error", bad)
		}
	}
}

func TestBuildWriteRead(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		d := newDisk(64 * mib)
		want := build(t, int64(len(d.b)), sector)
		if err := want.Write(d); err != nil {
			t.Fatal(err)
		}
		got, damage, err := Read(d, int64(len(d.b)), sector)
		if err != nil || damage.Any() {
			t.Fatal(err, damage)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("sector %d: read\n%+v\nwant\n%+v", sector, got, want)
		}
		for _, p := range got.Partitions {
			if p.First*uint64(sector)%mib != 0 {
				t.Errorf("partition %d starts at sector %d, not at a whole MiB", p.Number, p.First)
			}
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	linux := MustGUID(TypeLinux)
	for name, s := range map[string][]Spec{
		"too big":     {{Type: linux, Size: 65 * mib}},
		"rest early":  {{Type: linux}, {Type: linux, Size: mib}},
		"no type":     {{Size: mib}},
		"twice":       {{Number: 2, Type: linux, Size: mib}, {Number: 2, Type: linux, Size: mib}},
		"number":      {{Number: 129, Type: linux, Size: mib}},
		"name":        {{Type: linux, Size: mib, Name: strings.Repeat("x", 37)}},
		"room for it": {{Type: linux, Size: 62 * mib}, {Type: linux, Size: 2 * mib}},
	} {
		if _, err := Build(guid(9), 64*mib, 512, s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Build(guid(9), 64*mib, 500, nil); err == nil {
		t.Error("sector size 500: no error")
	}
	if _, err := Build(guid(9), 4096, 512, nil); err == nil {
		t.Error("4 KiB disk: no error")
	}
}

func TestHeal(t *testing.T) {
	const size = 64 * mib
	for name, c := range map[string]struct {
		at              int
		primary, backup bool
	}{
		"primary header":  {512 + 60, true, false},
		"primary entries": {1024 + 3, true, false},
		"backup header":   {size - 512 + 60, false, true},
		"backup entries":  {size - 33*512 + 3, false, true},
	} {
		d := newDisk(size)
		want := build(t, size, 512)
		if err := want.Write(d); err != nil {
			t.Fatal(err)
		}
		healthy := bytes.Clone(d.b)
		d.b[c.at] ^= 0x40
		got, damage, err := Read(d, size, 512)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v, %+v", name, err, got)
		}
		if (damage.Primary != nil) != c.primary || (damage.Backup != nil) != c.backup {
			t.Errorf("%s: damage %+v", name, damage)
		}
		if err := got.Write(d); err != nil || !bytes.Equal(d.b, healthy) {
			t.Errorf("%s: writing it again did not repair it: %v", name, err)
		}
	}
	if _, _, err := Read(newDisk(size), size, 512); !errors.Is(err, ErrNone) {
		t.Errorf("blank disk: %v", err)
	}
}

// Growth of a disk that was copied to a bigger one, cut after every sector:
// what is read back is the old or the new table, never none and never a mix.
func TestGrowSurvivesPowerCuts(t *testing.T) {
	const small, big = 64 * mib, 96 * mib
	for _, sector := range []int{512, 4096} {
		image := newDisk(big)
		before := build(t, small, sector)
		if err := before.Write(image); err != nil {
			t.Fatal(err)
		}
		after, _, err := Read(image, big, sector)
		if err != nil {
			t.Fatal(err)
		}
		if changed, err := after.Grow(big); err != nil || !changed {
			t.Fatal(changed, err)
		}
		if p, _ := after.Find(4); p.Last != uint64((big-mib)/sector-1) {
			t.Errorf("data ends at sector %d of %d", p.Last, after.DiskSectors)
		}
		again := *after
		if changed, err := again.Grow(big); err != nil || changed {
			t.Errorf("growing twice: %v, %v", changed, err)
		}
		sawOld, sawNew := false, false
		for cut := 0; ; cut += sector / 2 {
			d := &disk{b: bytes.Clone(image.b), budget: cut}
			writeErr := after.Write(d)
			got, _, err := Read(d, big, sector)
			switch {
			case err != nil:
				t.Fatalf("sector %d, cut after %d bytes: %v", sector, cut, err)
			case reflect.DeepEqual(got, before):
				sawOld = true
			case reflect.DeepEqual(got, after):
				sawNew = true
			default:
				t.Fatalf("sector %d, cut after %d bytes: neither old nor new: %+v", sector, cut, got)
			}
			if writeErr == nil {
				break
			}
		}
		if !sawOld || !sawNew {
			t.Errorf("the cuts did not cover both sides: old %v, new %v", sawOld, sawNew)
		}
	}
}

func TestGrowRefusesSmallerDisk(t *testing.T) {
	table := build(t, 64*mib, 512)
	want := build(t, 64*mib, 512)
	if _, err := table.Grow(32 * mib); err == nil {
		t.Error("no error")
	}
	if !reflect.DeepEqual(table, want) {
		t.Error("the table changed")
	}
}

func FuzzRead(f *testing.F) {
	d := newDisk(2 * mib)
	table, err := Build(guid(9), 2*mib, 512, []Spec{{Type: MustGUID(TypeLinux), ID: guid(1), Name: "x", Size: 4096}})
	if err != nil {
		f.Fatal(err)
	}
	if err := table.Write(d); err != nil {
		f.Fatal(err)
	}
	f.Add(d.b[512:1024], d.b[1024:1536], false)
	f.Add([]byte(signature), []byte{}, true)
	f.Fuzz(func(t *testing.T, header, entries []byte, fix bool) {
		disk := newDisk(2 * mib)
		copy(disk.b[512:1024], header)
		copy(disk.b[1024:], entries)
		if fix {
			fixChecksums(disk.b)
		}
		got, _, err := Read(disk, 2*mib, 512)
		if err != nil {
			return
		}
		if err := got.Validate(); err != nil {
			t.Fatalf("Read returned an invalid table: %v", err)
		}
		_, _ = got.Grow(2 * mib)
	})
}
