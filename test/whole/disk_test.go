package whole

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// emptyDisk is a sparse disk of zeros, in GiB.
func emptyDisk(t *testing.T, name string, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size<<30); err != nil {
		t.Fatal(err)
	}
	return path
}

// dataPartition names the data file system on a disk as e2fsprogs want it:
// the file itself, or the file with the offset of its partition KSOLODATA.
func dataPartition(t *testing.T, disk string) string {
	t.Helper()
	if start, ok := partitionStart(t, disk, "KSOLODATA"); ok {
		return fmt.Sprintf("%s?offset=%d", disk, start)
	}
	return disk
}

// partitionStart gives the offset in bytes of a partition by its name, and
// whether the disk has one.
func partitionStart(t *testing.T, disk, name string) (int64, bool) {
	t.Helper()
	out, err := exec.Command("sfdisk", "-J", disk).Output()
	if err != nil {
		return 0, false // no partition table
	}
	var table struct {
		PartitionTable struct {
			SectorSize int64
			Partitions []struct {
				Name  string
				Start int64
			}
		}
	}
	if err := json.Unmarshal(out, &table); err != nil {
		t.Fatal(err)
	}
	for _, p := range table.PartitionTable.Partitions {
		if p.Name == name {
			return p.Start * max(table.PartitionTable.SectorSize, 512), true
		}
	}
	return 0, false
}

// mustBeClean checks that a raw disk's data file system was unmounted and has
// no error. e2fsck -n alone would overlook a journal that waits for recovery.
func mustBeClean(t *testing.T, disk string) {
	t.Helper()
	fs := dataPartition(t, disk)
	out := command(t, "e2fsck", "-fn", fs)
	if strings.Contains(out, "skipping journal recovery") {
		t.Errorf("%s was not unmounted:\n%s", fs, out)
	}
	if h := command(t, "dumpe2fs", "-h", fs); strings.Contains(h, "needs_recovery") || !strings.Contains(h, "KSOLODATA") {
		t.Errorf("%s: the superblock says:\n%s", fs, h)
	}
}

func hashFile(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
