package source

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/mount"
	"kubesolo.io/os/internal/nstest"
)

// medium makes a directory like a mounted stick, with one target and one file
// of metadata in kubesolo-os.
func medium(t *testing.T, top string, target []byte) Directory {
	t.Helper()
	d := Directory{Medium: top, Dir: "kubesolo-os"}
	for name, data := range map[string][]byte{"metadata/timestamp.json": []byte("{}"), "targets/" + targetName: target} {
		name = filepath.Join(top, d.Dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestDirectory(t *testing.T) {
	data := randomBytes(100_000)
	d := medium(t, t.TempDir(), data)
	if d.String() != d.Medium+"/kubesolo-os" {
		t.Errorf("called %q", d)
	}
	if got, err := d.Metadata(t.Context(), "timestamp.json", 2); err != nil || string(got) != "{}" {
		t.Errorf("%q, %v", got, err)
	}
	for _, offset := range []int64{0, 1, 65536, 99_999, 100_000} {
		if got, err := read(t, d, 100_000, offset); err != nil || !bytes.Equal(got, data[offset:]) {
			t.Errorf("from %d: %d bytes, %v", offset, len(got), err)
		}
	}
}

func TestDirectoryRefuses(t *testing.T) {
	d := medium(t, t.TempDir(), []byte("0123456789"))
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(d.Medium, "kubesolo-os/metadata", name) }
	for name, to := range map[string]string{
		"absolute.json": outside,
		"relative.json": "../../../" + filepath.Base(filepath.Dir(outside)) + "/secret",
		"loop.json":     "loop.json",
		"nothing.json":  "not-there",
		"inside.json":   "../metadata/timestamp.json",
		"device.json":   "/dev/zero",
	} {
		if err := os.Symlink(to, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(in("pipe.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in("dir.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		kind error
		text string
	}{
		{"timestamp.json", nil, ""},
		{"inside.json", nil, ""},
		{"absolute.json", ErrRefused, "absolute.json"},
		{"relative.json", ErrRefused, "relative.json"},
		{"device.json", ErrRefused, "device.json"},
		{"loop.json", ErrRefused, "loop.json"},
		{"nothing.json", fs.ErrNotExist, "nothing.json"},
		{"other.json", fs.ErrNotExist, "other.json"},
		{"pipe.json", ErrRefused, "not a file (p"},
		{"dir.json", ErrRefused, "not a file (d"},
		{"../targets/" + targetName, ErrRefused, "not the name of a file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := d.Metadata(t.Context(), test.name, 9)
			wantError(t, err, test.kind, test.text)
			if err != nil && !Permanent(err) {
				t.Error("it would be tried again")
			}
		})
	}
	_, err := d.Metadata(t.Context(), "timestamp.json", 1)
	wantError(t, err, ErrLength, "longer than 1 bytes")
	for size, text := range map[int64]string{9: "it has 10 bytes, not 9", 11: "it has 10 bytes, not 11"} {
		_, err := read(t, d, size, 5)
		wantError(t, err, ErrLength, text)
	}
	_, err = read(t, d, 10, 11)
	wantError(t, err, ErrRefused, "offset 11")
	_, err = read(t, Directory{Medium: d.Medium, Dir: "../" + filepath.Base(d.Medium)}, 10, 0)
	wantError(t, err, ErrRefused, "")
	_, err = read(t, Directory{Medium: d.Medium, Dir: "kubesolo-os/metadata/timestamp.json"}, 10, 0)
	wantError(t, err, ErrRefused, "not a directory")
	_, err = read(t, Directory{Medium: d.Medium + "-not", Dir: "."}, 10, 0)
	wantError(t, err, fs.ErrNotExist, "")
}

func TestDirectoryFileShrinksWhileRead(t *testing.T) {
	d := medium(t, t.TempDir(), randomBytes(100_000))
	body, err := d.Target(t.Context(), targetName, 100_000, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, 50_000); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(d.String(), "targets", targetName), 60_000); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, body)
	wantError(t, err, ErrMedium, "ends 40000 bytes early")
	if n != 10_000 {
		t.Errorf("%d bytes", n)
	}
}

func TestDirectoryCancel(t *testing.T) {
	d := medium(t, t.TempDir(), randomBytes(1000))
	ctx, cancel := context.WithCancel(t.Context())
	body, err := d.Target(ctx, targetName, 1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	cancel()
	_, err = io.ReadAll(body)
	wantError(t, err, context.Canceled, "")
}

// The blocks of a mounted file system go away while a file of it is read, as
// when a stick is pulled out: the kernel then answers with EIO.
func TestMediumPulledOut(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	const size = 8 << 20
	dir := t.TempDir()
	image, top := filepath.Join(dir, "stick"), filepath.Join(dir, "top")
	source := filepath.Join(dir, "source")
	data := randomBytes(size)
	medium(t, source, data)
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/mkfs.ext4", "-q", "-d", source, image, "16m").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dev, err := mount.LoopAttach(image, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.LoopDetach(dev); err != nil {
			t.Error(err)
		}
	}()
	if err := os.Mkdir(top, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dev, top, "ext4", unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(top, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	d := Directory{Medium: top, Dir: "kubesolo-os"}
	if got, err := read(t, d, size, 0); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("whole medium: %d bytes, %v", len(got), err)
	}
	forget(t, filepath.Join(top, "kubesolo-os/targets", targetName))
	body, err := d.Target(t.Context(), targetName, size, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, size/4); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 4096); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, body)
	wantError(t, err, ErrMedium, "input/output error: the medium is damaged or was taken out")
	if n >= size*3/4 || !Permanent(err) {
		t.Errorf("%d bytes more, permanent: %v", n, Permanent(err))
	}
	// What was not read before cannot be found either.
	_, err = d.Metadata(t.Context(), "timestamp.json", 9)
	wantError(t, err, ErrMedium, "timestamp.json")
}

// forget drops a file from the page cache.
func forget(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}
