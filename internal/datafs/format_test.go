package datafs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kubesolo.io/os/internal/blockdev"
)

const diskSize = 160 << 20

func TestTemplateIsReproducible(t *testing.T) {
	_, a := makeTemplate(t)
	_, b := makeTemplate(t)
	if !bytes.Equal(a, b) {
		t.Error("two templates differ")
	}
	if len(a) > 64<<10 {
		t.Errorf("the template has %d bytes", len(a))
	}
}

func TestFormat(t *testing.T) {
	plain, encoded := makeTemplate(t)
	tool(t, nil, "e2fsck", "-fn", plain)
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(diskSize); err != nil {
		t.Fatal(err)
	}
	if err := Format(f, diskSize, opener(encoded)); err != nil {
		t.Fatal(err)
	}
	tool(t, nil, "e2fsck", "-fn", name)
	sb, err := blockdev.Probe(f, diskSize)
	if err != nil || sb.Type != "ext4" || sb.Label != Label || sb.UUID != TemplateUUID || sb.Ext4.Size != TemplateSize || sb.Ext4.NeedsRecovery {
		t.Errorf("superblock %+v %+v, %v", sb, sb.Ext4, err)
	}
	if err := Format(f, diskSize, opener(encoded)); !errors.Is(err, ErrUsed) {
		t.Errorf("formatting again: %v", err)
	}
}

// A power cut at any sector of any write, and in the middle of one: afterwards
// the disk is blank, or recognised as unfinished, or a complete file system;
// and the next Format, also with another template, ends well.
func TestFormatSurvivesPowerCuts(t *testing.T) {
	plain, encoded := smallTemplate(t)
	want, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	whole := newMemDisk(smallDisk)
	if err := Format(whole, smallDisk, opener(encoded)); err != nil {
		t.Fatal(err)
	}
	cuts := map[int64]bool{}
	for _, end := range append(whole.writes, 0) {
		for _, delta := range []int64{-513, -512, -511, -100, -1, 0, 1, 511, 512, 513, 1024, 1536, 2048} {
			if c := end + delta; c >= 0 && c < whole.used {
				cuts[c] = true
			}
		}
	}
	seen := map[Content]int{}
	for cut := range cuts {
		d := newMemDisk(smallDisk)
		d.budget = cut
		if err := Format(d, smallDisk, opener(encoded)); !errors.Is(err, errPower) {
			t.Fatalf("cut %d: %v", cut, err)
		}
		d.budget = 1 << 60
		content, err := Inspect(d, smallDisk, smallSize)
		if err != nil {
			t.Fatalf("cut %d: %v", cut, err)
		}
		seen[content]++
		if content == Used {
			// Only the marker's last sector was cut: complete, found by its label.
			sb, err := blockdev.Probe(d, smallDisk)
			if err != nil || sb.Label != Label || cut <= whole.used-markerSize {
				t.Fatalf("cut %d of %d: neither ours nor complete: %+v %v", cut, whole.used, sb, err)
			}
			continue
		}
		if content == Unfinished {
			// What an earlier, different template left must not shine through.
			if _, err := d.WriteAt(bytes.Repeat([]byte{0xA5}, 3*blockSize), 15<<20); err != nil {
				t.Fatal(err)
			}
		}
		if err := Format(d, smallDisk, opener(encoded)); err != nil {
			t.Fatalf("cut %d, second try: %v", cut, err)
		}
		if !d.equal(t, want, smallSize) {
			t.Fatalf("cut %d: the second try is not the template", cut)
		}
	}
	if seen[Blank] == 0 || seen[Unfinished] == 0 || seen[Used] == 0 {
		t.Errorf("the cuts did not cover all states: %v", seen)
	}
}

func TestInspectLeavesForeignAlone(t *testing.T) {
	put := func(off int64, b string) *memDisk {
		d := newMemDisk(smallDisk)
		if _, err := d.WriteAt([]byte(b), off); err != nil {
			t.Fatal(err)
		}
		return d
	}
	used := newMemDisk(smallDisk)
	_, encoded := smallTemplate(t)
	if err := Format(used, smallDisk, opener(encoded)); err != nil {
		t.Fatal(err)
	}
	for _, b := range []struct {
		off  int64
		data []byte
	}{{0, marker()}, {1024 + 44, []byte{1, 2, 3, 4}}} { // marker, mounted once
		if _, err := used.WriteAt(b.data, b.off); err != nil {
			t.Fatal(err)
		}
	}
	for name, d := range map[string]*memDisk{
		"a byte in the template's area": put(7<<20, "x"),
		"a byte in the last MiB":        put(smallDisk-1, "x"),
		"a byte after a marker's part":  put(0, markerText[:20]+"\x00x"),
		"luks":                          put(0, "LUKS\xba\xbe"),
		"marker on a used file system":  used,
	} {
		before := len(d.writes)
		if c, err := Inspect(d, smallDisk, smallSize); c != Used || err != nil {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		if err := Format(d, smallDisk, opener(encoded)); !errors.Is(err, ErrUsed) {
			t.Errorf("%s: Format: %v", name, err)
		}
		if len(d.writes) != before {
			t.Errorf("%s: it was written", name)
		}
	}
	if c, err := Inspect(newMemDisk(8<<20), 8<<20, smallSize); c != Used || err == nil {
		t.Errorf("small disk: %v, %v", c, err)
	}
	// Data in the middle, beyond the template and before the last MiB, is not
	// looked for: the rest of a wiped disk is like that.
	if c, err := Inspect(put(20<<20, "x"), smallDisk, smallSize); c != Blank || err != nil {
		t.Errorf("middle: %v, %v", c, err)
	}
}

// A damaged template is refused before the first byte is written.
func TestFormatRefusesDamagedTemplate(t *testing.T) {
	_, encoded := smallTemplate(t)
	for _, bad := range [][]byte{nil, encoded[:len(encoded)/2], append(bytes.Clone(encoded[:len(encoded)-30]), make([]byte, 30)...)} {
		d := newMemDisk(smallDisk)
		if err := Format(d, smallDisk, opener(bad)); err == nil || len(d.writes) > 0 {
			t.Errorf("%d bytes: error %v, %d writes", len(bad), err, len(d.writes))
		}
	}
}

func FuzzReadTemplate(f *testing.F) {
	small := newMemDisk(4 * blockSize)
	if _, err := small.WriteAt([]byte("hello"), 2*blockSize); err != nil {
		f.Fatal(err)
	}
	var out bytes.Buffer
	if err := EncodeTemplate(small, small.size, &out); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		var size int64
		_ = readTemplate(bytes.NewReader(b), func(n int64) error { size = n; return nil }, func(off int64, b []byte) error {
			if off < 0 || off+int64(len(b)) > size {
				t.Fatalf("record of %d bytes at %d of %d", len(b), off, size)
			}
			return nil
		})
	})
}
