package datafs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/nstest"
)

// damageRoot makes the inode of the root directory noise, or only sets the mark
// that the kernel leaves when it finds an error.
func damageRoot(t *testing.T, file string) {
	t.Helper()
	tool(t, nil, "debugfs", "-w", "-R", "clri <2>", file)
}

func markErrors(t *testing.T, file string) {
	t.Helper()
	tool(t, nil, "debugfs", "-w", "-R", "set_super_value state 2", file)
}

// With e2fsck at hand: a file system with the kernel's mark is checked, mounted,
// and has what was in it. One that the kernel refuses is left alone.
func TestRepair(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	for name, test := range map[string]struct {
		damage func(*testing.T, string)
		state  State
		asked  int
		note   string
	}{
		"errors found earlier": {markErrors, Mounted, 1, "the kernel found errors in this ext4 earlier; repaired"},
		"refused by the mount": {damageRoot, Memory, 0, "no file there was touched"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			file := m.disk("vda", false, nil)
			m.prepareNamed("vda")
			if err := os.WriteFile(filepath.Join(m.opts.Target, "kubesolo/kept"), []byte("yes"), 0o600); err != nil {
				t.Fatal(err)
			}
			m.unmount()
			test.damage(t, file)
			asked := 0
			m.opts.Repair = func(_ context.Context, device string) (string, error) {
				asked++
				tool(t, nil, "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; e2fsck -fy "+device+" || [ $? -lt 4 ]")
				return "repaired", nil
			}
			res, err := Prepare(t.Context(), m.opts)
			if err != nil || res.State != test.state || asked != test.asked {
				t.Fatalf("%+v, %v, asked %d times", res, err, asked)
			}
			t.Cleanup(m.unmount)
			m.wantNote(res, test.note)
			if test.state == Memory {
				return
			}
			if kept, err := os.ReadFile(filepath.Join(m.opts.Target, "kubesolo/kept")); err != nil || string(kept) != "yes" {
				t.Errorf("what was there: %q, %v", kept, err)
			}
			m.unmount()
			res, err = Prepare(t.Context(), m.opts)
			if err != nil || asked != 1 {
				t.Errorf("the next boot: %+v, %v, asked %d times", res, err, asked)
			}
			for _, note := range res.Notes {
				if strings.Contains(note, "repaired") {
					t.Errorf("the next boot: %s", note)
				}
			}
		})
	}
}

func TestRepairThatFails(t *testing.T) {
	p := preparer{Options: Options{
		Log:    func(string) {},
		Repair: func(context.Context, string) (string, error) { return "", errors.New("status 8") },
	}}
	if p.repair(t.Context(), blockdev.Device{Path: "/dev/vda4"}, "marked") || len(p.res.Notes) != 1 ||
		p.res.Notes[0] != "data: /dev/vda4: marked, and it could not be repaired: status 8" {
		t.Errorf("notes %q", p.res.Notes)
	}
}
