package datafs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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

// tornCommit gives the journal of a file system in use a last commit with a wrong
// checksum. A power cut does that to Linux 6.1 when the disk had written its first
// sectors only; here the checksum itself is changed, as later kernels (seen: 6.18)
// forgive what follows it.
func tornCommit(t *testing.T, file string) {
	t.Helper()
	dump := filepath.Join(t.TempDir(), "journal")
	tool(t, nil, "debugfs", "-R", "dump <8> "+dump, file)
	journal, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	// Big-endian: magic, type 2 for a commit, sequence (linux/jbd2.h).
	last, sequence := -1, uint32(0)
	for at := 0; at < len(journal); at += blockSize {
		head := journal[at:]
		if bytes.HasPrefix(head, []byte{0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2}) && binary.BigEndian.Uint32(head[8:]) >= sequence {
			last, sequence = at, binary.BigEndian.Uint32(head[8:])
		}
	}
	if last < 0 {
		t.Fatal("no commit in the journal")
	}
	block := strings.TrimSpace(tool(t, nil, "debugfs", "-R", fmt.Sprintf("bmap <8> %d", last/blockSize), file))
	_, block, _ = strings.Cut(block, "\n") // the first line is the version
	n, err := strconv.ParseInt(block, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("torn"), n*blockSize+16) // h_chksum[0]
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// With e2fsck at hand: a file system with the kernel's mark is checked, mounted,
// and has what was in it. One that the kernel refuses is left alone.
func TestRepair(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	for name, test := range map[string]struct {
		damage func(*testing.T, string)
		state  State
		inUse  bool // the power was cut
		asked  int
		note   string
	}{
		"errors found earlier": {markErrors, Mounted, false, 1, "the kernel found errors in this ext4 earlier; repaired"},
		"refused by the mount": {damageRoot, Memory, false, 0, "no file there was touched"},
		"a torn commit":        {tornCommit, Mounted, true, 1, "its journal ends in a torn write; repaired"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			file := m.disk("vda", false, nil)
			m.prepareNamed("vda")
			if err := os.WriteFile(filepath.Join(m.opts.Target, "kubesolo/kept"), []byte("yes"), 0o600); err != nil {
				t.Fatal(err)
			}
			tool(t, nil, "sync", "-f", m.opts.Target)
			inUse := filepath.Join(t.TempDir(), "in-use")
			tool(t, nil, "cp", "--sparse=always", file, inUse)
			m.unmount()
			if test.inUse {
				tool(t, nil, "cp", inUse, file)
			}
			test.damage(t, file)
			asked := 0
			m.opts.Repair = func(_ context.Context, device string) (string, error) {
				asked++
				tool(t, nil, "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; e2fsck -fp "+device+" || [ $? -lt 4 ]")
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
