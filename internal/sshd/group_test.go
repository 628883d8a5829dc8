package sshd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/cgroup"
	"kubesolo.io/os/internal/nstest"
)

// groups gives a tree of this test's own in the kernel's cgroup v2.
func groups(t *testing.T) (tree *cgroup.Tree, root string) {
	t.Helper()
	mounted := t.TempDir()
	if err := unix.Mount("none", mounted, "cgroup2", 0, ""); err != nil {
		t.Fatal(err)
	}
	top, err := cgroup.Open(mounted)
	if err != nil {
		t.Fatal(err)
	}
	own, err := top.Make(fmt.Sprintf("kstest-sshd-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := endGroup(t.Context(), own); err != nil {
			t.Log(err)
		}
		_ = unix.Unmount(mounted, unix.MNT_DETACH)
	})
	root = filepath.Join(mounted, own.Name)
	if tree, err = cgroup.Open(root); err != nil {
		t.Fatal(err)
	}
	return tree, root
}

// A session is in a group of its own and not in the agent's, without the
// agent's protection, and ends with its connection: what it detached too.
func TestSessionEndsWithItsGroup(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	tree, root := groups(t)
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0); err != nil {
		t.Fatal(err)
	}
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", tree, line)
	out, errText, _ := result(t, n.client(file, "root@127.0.0.1", "sleep 0.1; grep ^0: /proc/self/cgroup; cat /proc/self/oom_score_adj"))
	if !strings.Contains(out, "/ssh/1\n0\n") {
		t.Errorf("%q %s", out, errText)
	}
	for _, terminal := range []string{"-T", "-tt"} {
		cmd := n.client(file, terminal, "root@127.0.0.1", "setsid sleep 1234 > /dev/null 2>&1 < /dev/null & nohup sleep 1234 > /dev/null 2>&1 & echo started; sleep 1234")
		said := newText()
		cmd.Stdout = said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said.after(t, "started")
		pids := processes(t, root)
		if len(pids) < 3 {
			t.Errorf("%s: processes %v", terminal, pids)
		}
		before := strings.Count(n.log.String(), "ssh: logout")
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for deadline := time.Now().Add(hangLimit); strings.Count(n.log.String(), "ssh: logout") == before; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the session goes on: %v", terminal, processes(t, root))
			}
			time.Sleep(20 * time.Millisecond)
		}
		if pids := processes(t, root); len(pids) > 0 {
			t.Errorf("%s: left over: %v", terminal, pids)
		}
	}
	left, err := filepath.Glob(filepath.Join(root, "ssh", "*", "cgroup.procs"))
	if err != nil || len(left) > 0 {
		t.Errorf("groups that are left: %v %v", left, err)
	}
}

// A command that detached something ends, and that with it, on pipes too.
func TestNothingOutlivesASession(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	tree, root := groups(t)
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", tree, line)
	out, errText, status := result(t, n.client(file, "root@127.0.0.1", "setsid sleep 1234 > /dev/null 2>&1 < /dev/null & echo done"))
	if out != "done\n" || status != 0 {
		t.Errorf("%q %d %s", out, status, errText)
	}
	n.log.after(t, "ssh: logout")
	if pids := processes(t, root); len(pids) > 0 {
		t.Errorf("left over: %v", pids)
	}
}

// What an agent that died left behind ends when the next one starts.
func TestLeftOverSessionsEnd(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	tree, root := groups(t)
	old := &server{Options: Options{Groups: tree, Shell: "/bin/sh"}}
	p := &process{}
	dir, err := old.makeGroup(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := groupedSleep(dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir.Close()
	if pids := processes(t, root); len(pids) != 1 {
		t.Fatalf("processes %v", pids)
	}
	file, line := newKey(t)
	n := start(t, "127.0.0.1:1", tree, line)
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
	// The number is used again, the killed group is not: a new process lives.
	if out, errText, _ := result(t, n.client(file, "root@127.0.0.1", "grep ^0: /proc/self/cgroup")); !strings.Contains(out, "/ssh/1\n") {
		t.Errorf("%q %s", out, errText)
	}
}

// processes are all below root.
func processes(t *testing.T, root string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "ssh", "*", "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

// groupedSleep is a command that starts in the group of dir.
func groupedSleep(dir *os.File) *exec.Cmd {
	cmd := exec.Command("sleep", "1234")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	return cmd
}
