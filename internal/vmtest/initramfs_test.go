package vmtest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
)

// What is on top begins at a multiple of four bytes, whatever is below it.
func TestWriteInitramfs(t *testing.T) {
	dir := t.TempDir()
	for size, begin := range map[int]int64{0: 0, 5: 8, 512: 512} {
		base, path := filepath.Join(dir, "base"), filepath.Join(dir, "initrd")
		below := bytes.Repeat([]byte{7}, size)
		if err := os.WriteFile(base, below, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := WriteInitramfs(path, base, []cpio.Record{cpio.StaticFile("init", "text", 0o755)}); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(content, below) {
			t.Errorf("%d bytes below: they are not there", size)
		}
		records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(content[begin:])))
		if err != nil || len(records) == 0 || records[0].Name != "init" {
			t.Errorf("%d bytes below: %v at %d: %v", size, records, begin, err)
		}
	}
	if err := WriteInitramfs(filepath.Join(dir, "initrd"), filepath.Join(dir, "absent"), nil); err == nil {
		t.Error("no error without the file below")
	}
}
