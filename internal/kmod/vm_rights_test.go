package kmod

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

// TestVMWithoutTheRight: who may not load modules is told that what is there is
// there, and of the rest why it is refused.
func TestVMWithoutTheRight(t *testing.T) {
	nstest.Require(t, nstest.VM)
	there, err := os.ReadDir("/sys/module")
	if err != nil || len(there) == 0 {
		t.Fatalf("no modules to try: %v", err)
	}
	dir := t.TempDir()
	present, absent := filepath.Join(dir, there[0].Name()+".ko"), filepath.Join(dir, "no_such_module_here.ko")
	for _, file := range []string{present, absent} {
		if err := os.WriteFile(file, []byte("no module"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	type result struct{ drop, present, absent error }
	done := make(chan result, 1)
	go func() {
		// Without unlock: the thread ends with the goroutine.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		err := unix.Capget(&header, &sets[0])
		sets[0].Effective &^= 1 << unix.CAP_SYS_MODULE
		err = errors.Join(err, unix.Capset(&header, &sets[0]))
		done <- result{err, insertFile(present, ""), insertFile(absent, "")}
	}()
	got := <-done
	if got.drop != nil {
		t.Fatal(got.drop)
	}
	if !errors.Is(got.present, unix.EEXIST) {
		t.Errorf("%s: %v, want %v", present, got.present, unix.EEXIST)
	}
	if !errors.Is(got.absent, unix.EPERM) || !strings.Contains(got.absent.Error(), "CAP_SYS_MODULE") {
		t.Errorf("%s: %v, want %v and a hint", absent, got.absent, unix.EPERM)
	}
}
