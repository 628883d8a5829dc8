package small

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/u-root/u-root/pkg/cpio"

	"kubesolo.io/os/internal/datafs"
	"kubesolo.io/os/internal/vmtest"
)

func copyFile(t *testing.T, from, to string, mode fs.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, b, mode)
}

func writeFile(t *testing.T, path string, content []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}

// pack writes the tree under dir, and the two device nodes that a Go program
// needs before it has mounted anything, as an initramfs.
func pack(t *testing.T, dir, file string) {
	t.Helper()
	records := []cpio.Record{
		cpio.Directory("dev", 0o755),
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
	}
	recorder := cpio.NewRecorder()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		r, err := recorder.GetRecord(path)
		if err != nil {
			return err
		}
		if r.Name, err = filepath.Rel(dir, path); err != nil {
			return err
		}
		records = append(records, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	cpio.MakeAllReproducible(records)
	if err := vmtest.WriteInitramfs(file, "", records); err != nil {
		t.Fatal(err)
	}
}

// sparse makes an empty disk image.
func sparse(t *testing.T, path string, size int64) string {
	t.Helper()
	writeFile(t, path, nil, 0o600)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// addRepair adds the check that guest.Repair runs.
func addRepair(t *testing.T, stage string) {
	t.Helper()
	run(t, ".", "cp", "/sbin/e2fsck.static", filepath.Join(stage, "e2fsck"))
}

// dataFile makes the ext4 of the data partition as the image has it.
func dataFile(t *testing.T, path string) string {
	t.Helper()
	argv, env := datafs.TemplateCommand(path, time.Unix(1_700_000_000, 0))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return path
}

// dataTemplate makes the template of it.
func dataTemplate(t *testing.T, path string) {
	t.Helper()
	in, err := os.Open(dataFile(t, filepath.Join(t.TempDir(), "data.ext4")))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out bytes.Buffer
	if err := datafs.EncodeTemplate(in, datafs.TemplateSize, &out); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, out.Bytes(), 0o644)
}
