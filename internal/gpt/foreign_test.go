package gpt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/nstest"
)

// The tables of our writer, judged by others, before and after growing.
func TestForeignCheckers(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := build(t, 64*mib, 512)
	for _, size := range []int64{64 * mib, 96 * mib} {
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Grow(size); err != nil {
			t.Fatal(err)
		}
		if err := table.Write(f); err != nil {
			t.Fatal(err)
		}
		judge(t, name, table)
	}
}

// Sectors of 4096 bytes need a block device that says so.
func TestForeignCheckers4096(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 * mib); err != nil {
		t.Fatal(err)
	}
	dev := strings.TrimSpace(run(t, "losetup", "--show", "-f", "-b", "4096", name))
	defer run(t, "losetup", "-d", dev)
	d, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table := build(t, 64*mib, 4096)
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	judge(t, dev, table)
}

func judge(t *testing.T, name string, table *Table) {
	t.Helper()
	if out := run(t, "sfdisk", "--verify", name); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify: %s", out)
	}
	if out := run(t, "sgdisk", "-v", name); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	dump := run(t, "sfdisk", "--dump", name)
	for _, p := range table.Partitions {
		for _, want := range []string{p.ID.String(), p.Type.String(), fmt.Sprintf("name=%q", p.Name), fmt.Sprintf("size=%12d", p.Sectors())} {
			if !strings.Contains(dump, want) {
				t.Errorf("sfdisk --dump lacks %q:\n%s", want, dump)
			}
		}
	}
}

func run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		path = filepath.Join("/usr/sbin", tool) // not in everyone's PATH
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
	}
	return string(out)
}
