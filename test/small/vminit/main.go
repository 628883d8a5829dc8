// Command vminit is PID 1 of the small VM tier: it loads the modules named in
// /modules, mounts what a test expects to be there, runs every test binary
// under /tests with its own working directory, reports each line and each exit
// status on the virtio-serial port io.kubesolo.test, and powers off.
//
// It never judges a result: that is for the test on the host (test/small).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/test/small/guest"
)

// report is one line on the port.
type report struct {
	Package string `json:"package,omitempty"`
	Line    string `json:"line,omitempty"`
	Exit    string `json:"exit,omitempty"` // "ok" or why not; last of its package
	Error   string `json:"error,omitempty"`
	Done    bool   `json:"done,omitempty"`
}

func main() {
	out, err := setUp()
	if err != nil {
		fmt.Println("vminit:", err)
	} else {
		send := json.NewEncoder(out).Encode
		if err := runAll(send); err != nil {
			_ = send(report{Error: err.Error()})
		}
		_ = send(report{Done: true})
	}
	unix.Sync()
	fmt.Println("vminit: power off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	select {}
}

// setUp mounts, loads modules and opens the report port.
func setUp() (io.Writer, error) {
	err := guest.Mount("devtmpfs /dev", "proc /proc", "sysfs /sys", "tmpfs /run", "tmpfs /tmp mode=1777", "devpts /dev/pts",
		"tmpfs /dev/shm", "cgroup2 /sys/fs/cgroup nsdelegate,memory_recursiveprot")
	if err != nil {
		return nil, err
	}
	// Ctrl-alt-del would reset the machine in the middle of a test.
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return nil, fmt.Errorf("ctrl-alt-del: %w", err)
	}
	if err := guest.LoadModules(); err != nil {
		return nil, err
	}
	return openPort("io.kubesolo.test")
}

// openPort waits for the port: its driver probes in the background.
func openPort(name string) (io.Writer, error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		path, err := event.FindPort("/sys", "/dev", name)
		if err == nil {
			return os.OpenFile(path, os.O_WRONLY, 0)
		}
		if time.Now().After(deadline) {
			return nil, err
		}
	}
}

func runAll(send func(any) error) error {
	binaries, err := filepath.Glob("/tests/*/*.test")
	if err != nil {
		return err
	}
	for _, b := range binaries {
		name := strings.ReplaceAll(filepath.Base(filepath.Dir(b)), "+", "/")
		verdict := "ok"
		if err := runOne(b, name, send); err != nil {
			verdict = err.Error()
		}
		if err := send(report{Package: name, Exit: verdict}); err != nil {
			return err
		}
	}
	return nil
}

func runOne(binary, name string, send func(any) error) error {
	cmd := exec.Command(binary, "-test.v=true", "-test.run=^TestVM", "-test.timeout=10m")
	cmd.Dir = filepath.Dir(binary)
	cmd.Env = []string{
		"KS_IN_VM=1", "KS_REQUIRE_NS=1", "KS_DATA_TEMPLATE=/data.ext4.gz",
		"HOME=/tmp", "TMPDIR=/tmp", "PATH=/bin:/sbin", "GOTRACEBACK=all",
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := send(report{Package: name, Line: lines.Text()}); err != nil {
			return err
		}
	}
	return cmd.Wait()
}
