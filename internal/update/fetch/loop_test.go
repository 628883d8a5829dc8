package fetch

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/mount"
	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/update/source"
)

// attach makes a file a block device.
func attach(t *testing.T, file string, readonly bool) string {
	t.Helper()
	dev, err := mount.LoopAttach(file, readonly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.LoopDetach(dev); err != nil {
			t.Error(err)
		}
	})
	return dev
}

func address(p []byte) uintptr { return uintptr(unsafe.Pointer(&p[0])) }

// resident is how many bytes of a device are in the page cache.
func resident(t *testing.T, dev string, size int) int {
	t.Helper()
	f, err := os.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pages, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	vec := make([]byte, (size+os.Getpagesize()-1)/os.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, address(pages), uintptr(size), address(vec))
	if err := unix.Munmap(pages); err != nil || errno != 0 {
		t.Fatal(errno, err)
	}
	n := 0
	for _, v := range vec {
		n += int(v & 1)
	}
	return n * os.Getpagesize()
}

// A block device, a real server, and a page cache that stays as it was.
func TestLoopDevice(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	const size = 40<<20 + 12_345
	data := randomBytes(1, size)
	target, _ := image(t, data)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer server.Close()
	from, err := source.NewHTTP(server.URL, source.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := slotFile(t, 48<<20)
	before := get(t, file)
	dev := attach(t, file, false)
	most := 0
	o := Options{Source: from, Target: target, Device: dev, State: filepath.Join(t.TempDir(), "state"),
		Progress: func(int64, int64) { most = max(most, resident(t, dev, size)) }}
	if err := Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	// The file is not in the cache of the device, so this is what was written.
	wantSlot(t, get(t, file), before, data)
	// One checkpoint, one buffer, and what the kernel read ahead.
	if limit := checkpoint + 2*bufferSize; most > limit {
		t.Errorf("%d bytes of the page cache were taken, want at most %d", most, limit)
	}
	if left := resident(t, dev, size); left > 2*bufferSize {
		t.Errorf("%d bytes stay in the page cache", left)
	}
	// The cache of the device has what was written, and the medium has not.
	o.State = filepath.Join(t.TempDir(), "state")
	part, _, err := openPartition(dev, "")
	if err != nil {
		t.Fatal(err)
	}
	d := &download{Options: o, buffer: make([]byte, bufferSize), every: checkpoint, first: time.Millisecond}
	d.part = &flipping{partition: part, at: size/checkpoint + 2, flip: func() {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{^data[size-1]}, size-1)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Error(err)
		}
	}}
	err = errors.Join(d.run(t.Context()), part.Close())
	wantError(t, err, ErrSlot, "does not have what was written to it")
}

func TestDeviceRefused(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	file := slotFile(t, 1<<20)
	before := get(t, file)
	small := attach(t, slotFile(t, 65_536), false)
	readonly := attach(t, file, true)
	dir := t.TempDir()
	fsFile, top := filepath.Join(dir, "fs"), filepath.Join(dir, "top")
	if out, err := exec.Command("/usr/sbin/mkfs.ext4", "-q", fsFile, "4m").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mounted := attach(t, fsFile, false)
	running := attach(t, slotFile(t, 1<<20), false)
	link := filepath.Join(dir, "KSOLOA")
	if err := errors.Join(os.Mkdir(top, 0o755), unix.Mount(mounted, top, "ext4", 0, ""), os.Symlink(running, link)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(top, 0); err != nil {
			t.Error(err)
		}
	})
	o := Options{Source: medium, Target: target, Running: running, State: filepath.Join(dir, "state")}
	for device, text := range map[string]string{
		small:        "only 65536",
		readonly:     "(it is write-protected)",
		mounted:      "(it is mounted or being written)",
		link:         "is the slot that runs",
		"/dev/loop?": "(it is not there)",
	} {
		o.Device = device
		wantError(t, Fetch(t.Context(), o), ErrSlot, text)
	}
	if !bytes.Equal(get(t, file), before) {
		t.Error("a write-protected slot was written")
	}
}

// The disk that has the record is full: the download is whole all the same.
func TestFullDataDisk(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	full := t.TempDir()
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=8k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(full, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(full, "data"), make([]byte, 8<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	var said error
	o := Options{Source: medium, Target: target, Device: slotFile(t, 200_000), State: filepath.Join(full, "state"),
		Failed: func(err error, _ time.Duration) { said = err }}
	before := get(t, o.Device)
	if err := Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantSlot(t, get(t, o.Device), before, data)
	wantError(t, said, unix.ENOSPC, "a power cut would cost what was downloaded")
}
