package datafs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// makeTemplate runs the command of TemplateCommand and encodes its file.
func makeTemplate(t *testing.T) (plain string, encoded []byte) {
	t.Helper()
	return makeTemplateOf(t, TemplateSize, "size=32")
}

// smallTemplate is one that tests can format hundreds of times.
func smallTemplate(t *testing.T) (plain string, encoded []byte) {
	t.Helper()
	return makeTemplateOf(t, smallSize, "size=4")
}

const smallSize, smallDisk = 16 << 20, 24 << 20

func makeTemplateOf(t *testing.T, size int64, journal string) (plain string, encoded []byte) {
	t.Helper()
	plain = filepath.Join(t.TempDir(), "template.ext4")
	argv, env := TemplateCommand(plain, time.Unix(1_700_000_000, 0))
	argv[slices.Index(argv, "size=32")] = journal
	argv[len(argv)-1] = strconv.FormatInt(size>>10, 10) + "k"
	tool(t, env, argv...)
	f, err := os.Open(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	if err := EncodeTemplate(f, size, &out); err != nil {
		t.Fatal(err)
	}
	return plain, out.Bytes()
}

func tool(t *testing.T, env []string, argv ...string) string {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		path = filepath.Join("/usr/sbin", argv[0]) // not in everyone's PATH
	}
	cmd := exec.Command(path, argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

func opener(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

var errPower = errors.New("power cut")

// memDisk is a sparse disk that loses power after budget bytes: the write is
// cut there and everything later fails.
type memDisk struct {
	size   int64
	blocks map[int64][]byte
	budget int64
	writes []int64 // budget used at the end of each write
	used   int64
}

func newMemDisk(size int64) *memDisk {
	return &memDisk{size: size, blocks: map[int64][]byte{}, budget: 1 << 60}
}

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > d.size {
		return 0, io.EOF
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		within := int(at % blockSize)
		step := min(len(p)-n, blockSize-within)
		if b := d.blocks[at/blockSize]; b != nil {
			copy(p[n:n+step], b[within:])
		} else {
			clear(p[n : n+step])
		}
		n += step
	}
	return len(p), nil
}

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		if d.used >= d.budget {
			return n, errPower
		}
		at := off + int64(n)
		within := int(at % blockSize)
		step := int(min(int64(min(len(p)-n, blockSize-within)), d.budget-d.used))
		b := d.blocks[at/blockSize]
		if b == nil {
			b = make([]byte, blockSize)
			d.blocks[at/blockSize] = b
		}
		copy(b[within:], p[n:n+step])
		d.used += int64(step)
		n += step
	}
	d.writes = append(d.writes, d.used)
	return len(p), nil
}

func (d *memDisk) Sync() error {
	if d.used >= d.budget {
		return errPower
	}
	return nil
}

// equal compares the first size bytes.
func (d *memDisk) equal(t *testing.T, r io.ReaderAt, size int64) bool {
	t.Helper()
	a, b := make([]byte, blockSize), make([]byte, blockSize)
	for off := int64(0); off < size; off += blockSize {
		_, err1 := d.ReadAt(a, off)
		_, err2 := r.ReadAt(b, off)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			return false
		}
	}
	return true
}
