package small

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/fatfile"
	"kubesolo.io/os/internal/gpt"
	"kubesolo.io/os/internal/image"
	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/tufrepo"
)

// slotFile is a slot image.
type slotFile struct {
	version, path, sum string
	size               int64
}

// updateWorld makes the disks, slots and media of the tests of updates.
type updateWorld struct {
	kernel kernel
	dir    string
	stage  string // the part of the initramfs that all versions have
	keys   *tufrepo.Keys
}

func newUpdateWorld(t *testing.T) *updateWorld {
	t.Helper()
	w := &updateWorld{kernel: findKernel(t), dir: t.TempDir()}
	const modules = "virtio_pci virtio_blk ext4 squashfs"
	w.stage = w.kernel.subset(t, strings.Fields(modules))
	writeFile(t, filepath.Join(w.stage, "modules"), []byte(modules), 0o644)
	run(t, repository(t), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(w.stage, "init"), "./test/small/updateinit")
	addRepair(t, w.stage)
	dir := filepath.Join(w.dir, "keys")
	if err := tufrepo.InitTest(dir); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.keys, err = tufrepo.Open(dir); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(w.stage, "root.json"), w.keys.RootFile(), 0o644)
	return w
}

// slot makes a version: our kernel, and an initramfs that begins with something of
// its own, so that no two of them have the same bytes in the same places.
func (w *updateWorld) slot(t *testing.T, version, kind string) slotFile {
	t.Helper()
	random := rand.NewChaCha8(sha256.Sum256([]byte(version)))
	filler := make([]byte, 64<<10+random.Uint64()%(64<<10))
	_, _ = random.Read(filler)
	writeFile(t, filepath.Join(w.stage, "filler"), filler, 0o644)
	writeFile(t, filepath.Join(w.stage, "version"), []byte(version), 0o644)
	writeFile(t, filepath.Join(w.stage, "kind"), []byte(kind), 0o644)
	plain, zipped := filepath.Join(w.dir, "initramfs"), filepath.Join(w.dir, "initramfs.gz")
	pack(t, w.stage, plain)
	zip(t, plain, zipped)
	s := slotFile{version: version, path: filepath.Join(w.dir, version+".slot")}
	info := image.SlotInfo{Version: version, Architecture: "amd64", Kernel: w.kernel.Release}
	if err := image.WriteSlot(t.Context(), tool.New(nil, time.Unix(1_700_000_000, 0)), s.path, info, w.kernel.Image, zipped); err != nil {
		t.Fatal(err)
	}
	sum, size, err := inputs.HashFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	s.sum, s.size = sum, size
	return s
}

// medium is a medium with updates: a signed repository to which the last of the
// slots is added, and a list of all of them.
func (w *updateWorld) medium(t *testing.T, repository string, slots ...slotFile) string {
	t.Helper()
	last := slots[len(slots)-1]
	root := filepath.Join(w.dir, repository)
	repo := tufrepo.Repository{Dir: filepath.Join(root, "kubesolo-os"), Keys: w.keys, Time: time.Now(), Expiry: tufrepo.DefaultExpiry()}
	if _, err := repo.Add(tufrepo.Release{File: last.path, Version: last.version, Architecture: "amd64", Channels: []string{"stable"}, Released: time.Now()}); err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for _, s := range slots {
		fmt.Fprintln(&list, s.version, s.sum, s.size)
	}
	writeFile(t, filepath.Join(root, "slots"), []byte(list.String()), 0o644)
	image := filepath.Join(w.dir, last.version+".medium")
	run(t, root, "mksquashfs", root, image, "-quiet", "-no-progress", "-comp", "gzip", "-noI", "-noD", "-noF", "-noX")
	return image
}

// hurry changes what only costs time: GRUB's menu is not shown for 3 s, and the
// machine restarts at once after a panic. And it keeps a kernel from giving up
// ("IO-APIC + timer doesn't work") when the emulator gets no processor just while it
// counts ticks: one boot in a hundred at a low priority.
func (d *slotDisk) hurry() {
	d.t.Helper()
	f := d.open()
	defer f.Close()
	efi := d.parts[gpt.NameEFI]
	at, size := int64(efi.First)*512, int64(efi.Sectors())*512
	found, err := fatfile.Find(io.NewSectionReader(f, at, size), size, "/boot/grub/grub.cfg")
	if err != nil || len(found.Extents) != 1 {
		d.t.Fatalf("grub.cfg: %+v, %v", found, err)
	}
	text := make([]byte, found.Size)
	at += found.Extents[0].Offset
	if _, err := f.ReadAt(text, at); err != nil {
		d.t.Fatal(err)
	}
	quick := string(text)
	for _, change := range [][2]string{{"set timeout=3\n", "set timeout=0\n"}, {" panic=10 ", " panic=-1 "},
		{" page_alloc.shuffle=1", " no_timer_check      "}} {
		if !strings.Contains(quick, change[0]) || len(change[0]) != len(change[1]) {
			d.t.Fatalf("grub.cfg has no %q", change[0])
		}
		quick = strings.ReplaceAll(quick, change[0], change[1])
	}
	if _, err := f.WriteAt([]byte(quick), at); err != nil {
		d.t.Fatal(err)
	}
}

// zip makes what GRUB has to load smaller: a good part of a boot's time goes there.
func zip(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(text)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, out.Bytes(), 0o644)
}
