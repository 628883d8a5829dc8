package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const imageSize = 40 << 20

// image makes an empty file and runs a foreign mkfs on it.
func image(t *testing.T, argv ...string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(imageSize); err != nil {
		t.Fatal(err)
	}
	if len(argv) == 0 {
		return f
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		path = filepath.Join("/usr/sbin", argv[0]) // not in everyone's PATH
	}
	cmd := exec.Command(path, append(argv[1:], name)...)
	cmd.Env = append(os.Environ(), "MKE2FS_CONFIG=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return f
}

func TestProbeForeignMakers(t *testing.T) {
	const uuid = "01234567-89ab-4def-8123-456789abcdef"
	for _, c := range []struct {
		argv []string
		want Superblock
	}{
		{[]string{"mkfs.ext4", "-q", "-F", "-O", "has_journal,extent,64bit,metadata_csum", "-L", "DATA", "-U", uuid}, Superblock{Type: "ext4", Label: "DATA", UUID: uuid}},
		{[]string{"mkfs.ext2", "-q", "-F", "-L", "OLD", "-U", uuid}, Superblock{Type: "ext4", Label: "OLD", UUID: uuid}},
		{[]string{"mkfs.vfat", "-F", "32", "-n", "KSOLOEFI", "-i", "CAFE1234"}, Superblock{Type: "vfat", Label: "KSOLOEFI", UUID: "CAFE-1234"}},
		{[]string{"mkfs.vfat", "-F", "16", "-i", "00000001"}, Superblock{Type: "vfat", UUID: "0000-0001"}},
		{[]string{"mkswap", "-q", "-L", "SWP", "-U", uuid}, Superblock{Type: "swap", Label: "SWP", UUID: uuid}},
		{[]string{"true"}, Superblock{}},
	} {
		f := image(t, c.argv...)
		got, err := Probe(f, imageSize)
		if c.want.Type == "ext4" {
			if got.Ext4 == nil || got.Ext4.Size != imageSize || !got.Ext4.Clean || got.Ext4.NeedsRecovery || got.Ext4.HasErrors {
				t.Errorf("%v: %+v", c.argv, got.Ext4)
			}
			got.Ext4 = nil
		}
		if err != nil || got != c.want {
			t.Errorf("%v: got %+v, %v; want %+v", c.argv, got, err, c.want)
		}
	}
}

func TestProbeSquashfsAndISO(t *testing.T) {
	dir := t.TempDir()
	for _, argv := range [][]string{
		{"mksquashfs", dir, dir + ".sqfs", "-quiet", "-no-progress"},
		{"xorriso", "-as", "mkisofs", "-quiet", "-V", "CIDATA", "-o", dir + ".iso", dir},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	for file, want := range map[string]Superblock{".sqfs": {Type: "squashfs"}, ".iso": {Type: "iso9660", Label: "CIDATA"}} {
		b, err := os.ReadFile(dir + file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Probe(bytes.NewReader(b), int64(len(b)))
		got.UUID = ""
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", file, got, err)
		}
	}
}

// Foreign magics for which no maker is at hand, at their documented places.
func TestProbeMagics(t *testing.T) {
	le := binary.LittleEndian
	zfs := make([]byte, 8)
	le.PutUint64(zfs, 0x00bab10c)
	md := make([]byte, 64)
	le.PutUint32(md, 0xa92b4efc)
	le.PutUint32(md[4:], 1)
	lvm := append([]byte("LABELONE"), make([]byte, 24)...)
	copy(lvm[24:], "LVM2 001")
	for _, c := range []struct {
		off  int64
		data []byte
		want string
	}{
		{0, []byte("LUKS\xba\xbe\x00\x02"), "crypto_LUKS"}, {512, lvm, "LVM2_member"}, {4096, md, "linux_raid_member"},
		{imageSize - 8192, md, "linux_raid_member"}, {imageSize - 65536, md, "linux_raid_member"},
		{136 << 10, zfs, "zfs_member"}, {0, []byte("XFSB"), "xfs"}, {0x10040, []byte("_BHRfS_M"), "btrfs"},
		{3, []byte("NTFS    "), "ntfs"}, {3, []byte("EXFAT   "), "exfat"}, {3, []byte("-FVE-FS-"), "BitLocker"},
		{1024, []byte("\x10\x20\xf5\xf2"), "f2fs"}, {1024, []byte("\xe2\xe1\xf5\xe0"), "erofs"}, {32, []byte("NXSB"), "apfs"},
		{512, []byte("EFI PART"), "gpt"}, {65588, []byte("ReIsEr2Fs"), "reiserfs"},
	} {
		f := image(t)
		if _, err := f.WriteAt(c.data, c.off); err != nil {
			t.Fatal(err)
		}
		if got, err := Probe(f, imageSize); err != nil || got.Type != c.want {
			t.Errorf("%s at %d: %+v, %v", c.want, c.off, got, err)
		}
	}
}

func TestProbeDamagedExt4(t *testing.T) {
	f := image(t, "mkfs.ext4", "-q", "-F", "-O", "metadata_csum", "-L", "KSOLODATA")
	if _, err := f.WriteAt([]byte{0xFF}, 1024+200); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := Probe(f, imageSize); !errors.As(err, &damaged) || damaged.Label != "KSOLODATA" || err.Error() != "ext4 superblock damaged (checksum)" {
		t.Errorf("%v", err)
	}
}

func TestPartTables(t *testing.T) {
	for _, c := range []struct {
		script, kind string
		want         map[int]PartEntry
	}{
		{"label: gpt\n,4M,U,,name=x\nsize=4M,uuid=AABBCCDD-0011-4222-8333-445566778899,name=KSOLODATA\n", "gpt",
			map[int]PartEntry{2: {"KSOLODATA", "aabbccdd-0011-4222-8333-445566778899"}}},
		{"label: dos\nlabel-id: 0xcafe0001\n,4M\n,8M,E\n,2M\n,2M\n,2M\n", "dos",
			map[int]PartEntry{1: {"", "cafe0001-01"}, 2: {"", "cafe0001-02"}, 3: {"", "cafe0001-03"}, 4: {"", "cafe0001-04"}, 5: {"", "cafe0001-05"}}},
	} {
		f := image(t)
		cmd := exec.Command("/usr/sbin/sfdisk", "-q", f.Name())
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(c.script, ",4M,U,,name=x", "size=4M,name=x"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
		got, err := ReadPartTable(f, imageSize, 512)
		if err != nil || got.Type != c.kind {
			t.Errorf("%+v, %v", got, err)
		}
		for n, want := range c.want {
			if got.Part[n] != want {
				t.Errorf("%s partition %d: %+v, want %+v", c.kind, n, got.Part[n], want)
			}
		}
	}
	fat := image(t, "mkfs.vfat")
	if got, err := ReadPartTable(fat, imageSize, 512); err != nil || got.Type != "" {
		t.Errorf("vfat: %+v, %v", got, err)
	}
}

// sparse puts fuzzed bytes at the places the parsers look at.
type sparse struct{ b []byte }

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = 0
		if len(s.b) > 0 {
			p[i] = s.b[(off+int64(i))%int64(len(s.b))]
		}
	}
	return len(p), nil
}

func FuzzProbe(f *testing.F) {
	sb := make([]byte, 2048)
	copy(sb[1024+56:], "\x53\xef")
	f.Add(sb, int64(imageSize))
	for _, s := range []string{"hsqs", "XFSB", "LUKS\xba\xbe", "\x00CD001", "SWAPSPACE2", "LABELONE", "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"} {
		f.Add([]byte(s), int64(1<<20))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		got, err := Probe(sparse{b}, size)
		if err == nil && got.Ext4 != nil && got.Ext4.Size <= 0 {
			t.Errorf("size %d", got.Ext4.Size)
		}
	})
}

func FuzzReadPartTable(f *testing.F) {
	mbr := make([]byte, 512)
	mbr[446+4], mbr[446+8], mbr[446+12], mbr[510], mbr[511] = 0x05, 1, 1, 0x55, 0xAA
	f.Add(mbr, int64(1<<20))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		got, err := ReadPartTable(sparse{b}, size, 512)
		if err == nil && got.Type == "" && len(got.Part) > 0 {
			t.Errorf("%+v", got)
		}
	})
}
