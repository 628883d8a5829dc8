package fatfile_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kubesolo.io/os/internal/fatfile"
)

// volume is a file system that foreign tools make and fill.
type volume struct {
	t     *testing.T
	image string
}

func (v volume) tool(name string, args ...string) {
	v.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name) // not in everyone's PATH
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		v.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func newVolume(t *testing.T, size int64, name string, args ...string) volume {
	t.Helper()
	v := volume{t, filepath.Join(t.TempDir(), "image")}
	if err := os.WriteFile(v.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(v.image, size); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		if args[i] == "IMAGE" {
			args[i] = v.image
		}
	}
	v.tool(name, args...)
	return v
}

// put stores content and gives it back.
func (v volume) put(path string, content []byte) []byte {
	v.t.Helper()
	file := filepath.Join(v.t.TempDir(), "content")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		v.t.Fatal(err)
	}
	v.tool("mcopy", "-i", v.image, file, "::"+path)
	return content
}

// read finds a file and reads it by its extents.
func (v volume) read(path string) (fatfile.File, []byte, error) {
	v.t.Helper()
	f, err := os.Open(v.image)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		v.t.Fatal(err)
	}
	found, err := fatfile.Find(f, fi.Size(), path)
	if err != nil {
		return found, nil, err
	}
	var content []byte
	for _, e := range found.Extents {
		b := make([]byte, e.Length)
		if _, err := f.ReadAt(b, e.Offset); err != nil {
			v.t.Fatal(err)
		}
		content = append(content, b...)
	}
	return found, content, nil
}

// forgetNextFree makes mtools look for free clusters from the beginning: FAT32
// keeps the place where the last search ended (FSI_Nxt_Free).
func (v volume) forgetNextFree() {
	v.t.Helper()
	f, err := os.OpenFile(v.image, os.O_RDWR, 0)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	info := make([]byte, 4)
	if _, err := f.ReadAt(info, 512); err != nil {
		v.t.Fatal(err)
	}
	if string(info) == "RRaA" {
		if _, err := f.WriteAt([]byte{0xFF, 0xFF, 0xFF, 0xFF}, 512+492); err != nil {
			v.t.Fatal(err)
		}
	}
}

func pattern(name string, size int) []byte {
	var b []byte
	for i := 0; len(b) < size; i++ {
		b = fmt.Appendf(b, "%s %d\n", name, i)
	}
	return b[:size]
}

func TestForeignFileSystems(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		size int64
		tool string
		args []string
	}{
		{"FAT12", 2 * mib, "mkfs.vfat", []string{"-F", "12", "IMAGE"}},
		{"FAT12 of a floppy", 1440 << 10, "mformat", []string{"-i", "IMAGE", "-f", "1440", "::"}},
		{"FAT16", 32 * mib, "mkfs.vfat", []string{"-F", "16", "IMAGE"}},
		{"FAT16, sectors of 4096 bytes", 64 * mib, "mkfs.vfat", []string{"-F", "16", "-S", "4096", "IMAGE"}},
		{"FAT32", 40 * mib, "mkfs.vfat", []string{"-F", "32", "-s", "1", "IMAGE"}},
		{"FAT32 with clusters of 16 KiB", 1100 * mib, "mkfs.vfat", []string{"-F", "32", "-s", "32", "IMAGE"}},
		{"FAT32 of the image", 256 * mib, "mformat", []string{"-i", "IMAGE", "-T", fmt.Sprint(256 * mib / 512), "-h", "64", "-s", "32", "-F", "::"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVolume(t, c.size, c.tool, c.args...)
			v.tool("mmd", "-i", v.image, "::boot", "::boot/grub", "::Boot loader's own directory")
			want := map[string][]byte{}
			// So many that the directory needs more than one cluster.
			for i := range 40 {
				name := fmt.Sprintf("boot/grub/a file with a long name %d", i)
				want[name] = v.put(name, pattern(name, i*97))
			}
			for _, name := range []string{"boot/grub/env1", "boot/grub/GRUB.CFG", "Boot loader's own directory/Ünïcode.Text", "kernel"} {
				want[name] = v.put(name, pattern(name, 1024))
			}
			// Holes of one file each, and then one that fills them.
			for i := range 16 {
				v.put(fmt.Sprintf("hole%d", i), pattern("hole", 20000))
			}
			for i := 0; i < 16; i += 2 {
				v.tool("mdel", "-i", v.image, fmt.Sprintf("::hole%d", i))
			}
			v.forgetNextFree()
			want["fragments"] = v.put("fragments", pattern("fragments", 150001))
			for path, content := range want {
				found, got, err := v.read("/" + path)
				if err != nil || found.Size != int64(len(content)) || !bytes.Equal(got, content) {
					t.Errorf("%s: %d bytes, %d read, want %d; %v", path, found.Size, len(got), len(content), err)
				}
				if path == "fragments" && len(found.Extents) < 5 {
					t.Errorf("%s has %d extents", path, len(found.Extents))
				}
			}
			for path, same := range map[string]string{"BOOT/Grub/ENV1": "boot/grub/env1", "boot/grub/grub.cfg": "boot/grub/GRUB.CFG",
				"//boot//grub/A FILE with a long name 7": "boot/grub/a file with a long name 7", "boot/grub/AFILEW~1": "boot/grub/a file with a long name 0"} {
				if _, got, err := v.read(path); err != nil || !bytes.Equal(got, want[same]) {
					t.Errorf("%s: %d bytes, %v", path, len(got), err)
				}
			}
		})
	}
}
