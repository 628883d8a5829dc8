package main

import (
	"bytes"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/reap"
)

// TestRepairExt4 lets the real e2fsck repair an image: what -fp does alone, what
// needs answers, which nobody gives, and what is no file system at all.
func TestRepairExt4(t *testing.T) {
	for name, test := range map[string]struct {
		damage string // a command of debugfs; "": no file system
		want   string
	}{
		"marked":            {"set_super_value state 2", "e2fsck -fp repaired it"},
		"no root directory": {"clri <2>", "ended with status 4"},
		"no file system":    {"", "ended with status 8"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "disk.img")
			for _, command := range [][]string{
				{"truncate", "-s", "16M", file}, {"mkfs.ext4", "-q", file}, {"debugfs", "-w", "-R", test.damage, file},
			} {
				if test.damage == "" && command[0] != "truncate" {
					continue
				}
				if out, err := hostTool(command).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", command, err, out)
				}
			}
			var log bytes.Buffer
			n := &node{log: slog.New(slog.NewTextHandler(&log, nil)), reaper: reap.New()}
			outcome, err := n.repairExt4(t.Context(), file)
			n.reaper.Close() // before the next use of os/exec
			if err != nil {
				outcome = err.Error()
			}
			if !strings.Contains(outcome, test.want) {
				t.Errorf("%s\n%s", outcome, log.String())
			}
			if test.damage == "" {
				return
			}
			if !strings.Contains(log.String(), file) {
				t.Errorf("its lines are not in the log: %s", log.String())
			}
			if err != nil {
				return
			}
			if out, err := hostTool([]string{"e2fsck", "-fn", file}).CombinedOutput(); err != nil {
				t.Errorf("not clean afterwards: %v\n%s", err, out)
			}
		})
	}
}

func hostTool(argv []string) *exec.Cmd {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		path = filepath.Join("/usr/sbin", argv[0]) // not in everyone's PATH
	}
	return exec.Command(path, argv[1:]...)
}
