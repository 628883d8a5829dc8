package vmrun

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// readyEnv and readyFD are how a detached run tells its parent that the node
// is Ready: by one byte. Without one, the run has ended.
const (
	readyEnv = "KS_RUN_DETACHED"
	readyFD  = 3
)

// TellParent tells the parent of a detached run that the node is Ready; in any
// other run it does nothing.
func TellParent() {
	if os.Getenv(readyEnv) != "1" {
		return
	}
	f := os.NewFile(readyFD, "ready")
	// The parent may have been interrupted; the machine runs on all the same.
	_, _ = f.Write([]byte{1})
	_ = f.Close()
}

// Detach starts this program again with args in a session of its own, shows
// what it prints until the node is Ready, and leaves it running. The output
// goes to run.log in the build directory.
func Detach(build string, args []string, out io.Writer) error {
	path := filepath.Join(build, "run.log")
	log, err := os.Create(path)
	if err != nil {
		return err
	}
	defer log.Close()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs} // becomes readyFD
	cmd.Env = append(os.Environ(), readyEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	told := make(chan bool, 1)
	go func() {
		n, _ := ready.Read(make([]byte, 1))
		told <- n == 1
	}()
	follow, err := os.Open(path)
	if err != nil {
		return err
	}
	defer follow.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case ok := <-told:
			_, _ = io.Copy(out, follow)
			if !ok {
				return fmt.Errorf("the run in the background ended before the node was Ready (%v); see %s", cmd.Wait(), path)
			}
			fmt.Fprintf(out, "\nruns on in the background: log %s, stop with: kill -INT %d\n", path, cmd.Process.Pid)
			return cmd.Process.Release()
		case <-tick.C:
			_, _ = io.Copy(out, follow)
		}
	}
}
