package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const qemuBinary = "qemu-system-x86_64"

// VM is a running virtual machine.
type VM struct {
	Config Config
	Accel  string // "kvm" or "tcg"

	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stderr  bytes.Buffer
	console *console
	qmp     *qmp
	ports   map[string]*Port
	readers sync.WaitGroup // of ports
	dir     string         // private files, removed at the end
	done    chan struct{}  // closed after exit is set
	exit    Exit
}

// Exit says how a virtual machine ended.
type Exit struct {
	// Reason is QEMU's: "guest-shutdown" (power off), "guest-reset"
	// (reboot without Config.Reboots), "guest-panic", "host-qmp-quit";
	// "killed" after PowerCut.
	Reason string
	Err    error // exit status and QEMU's own message, nil if it ended well
}

// Start boots the machine. It ends with ctx as in a power cut, at the latest
// with this process. The serial output also goes to mirror unless it is nil.
func Start(ctx context.Context, c Config, mirror io.Writer) (*VM, error) {
	fail := func(err error) (*VM, error) { return nil, fmt.Errorf("vm %s: %w", c.Name, err) }
	binary, err := exec.LookPath(qemuBinary)
	if err != nil {
		return fail(fmt.Errorf("%w (Debian package qemu-system-x86)", err))
	}
	v := &VM{Config: c, Accel: c.Accel, console: newConsole(mirror), ports: map[string]*Port{}, done: make(chan struct{})}
	if v.Accel == "" {
		probe := c.ProbeWith
		if probe == "" {
			probe = c.Kernel
		}
		v.Accel = Accelerator(ctx, probe)
	}
	if v.dir, err = os.MkdirTemp("", "kubesolo-vm-"); err != nil {
		return fail(err)
	}
	vars := c.UEFIVars
	if c.UEFI {
		if vars == "" {
			vars = filepath.Join(v.dir, "vars.fd")
		}
		if err := copyIfAbsent(ovmfVars, vars); err != nil {
			os.RemoveAll(v.dir)
			return fail(fmt.Errorf("%w (Debian package ovmf)", err))
		}
	}
	names := append([]string{EventsPort, KubeconfigPort}, c.Ports...)
	v.cmd = exec.CommandContext(ctx, binary, c.args(v.Accel, names, vars)...)
	if err := v.start(names); err != nil {
		os.RemoveAll(v.dir)
		return fail(err)
	}
	return v, nil
}

// start connects QMP and the ports, runs QEMU and follows it to its end.
func (v *VM) start(ports []string) error {
	var ours []net.Conn
	closeAll := func() {
		for _, f := range v.cmd.ExtraFiles {
			f.Close()
		}
		for _, c := range ours {
			c.Close()
		}
	}
	for range 1 + len(ports) {
		conn, file, err := socketPair()
		if err != nil {
			closeAll()
			return err
		}
		ours = append(ours, conn)
		v.cmd.ExtraFiles = append(v.cmd.ExtraFiles, file)
	}
	var err error
	if v.stdin, err = v.cmd.StdinPipe(); err != nil {
		closeAll()
		return err
	}
	v.cmd.Stdout, v.cmd.Stderr = v.console, &v.stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{
		// Ctrl-C at the terminal is for the program that drives the
		// machine, not for QEMU, which would end at once.
		Setpgid: true,
		// Pdeathsig follows the thread that starts the process; follow
		// keeps that thread until QEMU's end.
		Pdeathsig: syscall.SIGKILL,
	}
	v.qmp = newQMP(ours[0])
	started := make(chan error)
	v.readers.Add(len(ports))
	go v.follow(started, ours)
	err = <-started
	for _, f := range v.cmd.ExtraFiles {
		f.Close() // QEMU has its own; ours would keep its end from being seen
	}
	if err != nil {
		closeAll()
		return err
	}
	for i, name := range ports {
		p := &Port{newStream(), ours[1+i]}
		v.ports[name] = p
		go func() {
			_, _ = io.Copy(p, ours[1+i]) // ends with QEMU
			v.readers.Done()
			<-v.done
			p.end(v.exitError())
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := v.qmp.do(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = v.cmd.Process.Kill()
		<-v.done
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(v.stderr.String()))
	}
	return nil
}

// follow runs QEMU to its end on one thread.
func (v *VM) follow(started chan<- error, conns []net.Conn) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := v.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	err := v.cmd.Wait()
	<-v.qmp.done // the SHUTDOWN event was read, if there was one
	v.exit.Reason = v.qmp.shutdownReason()
	if err != nil {
		v.exit.Err = fmt.Errorf("qemu: %w: %s", err, strings.TrimSpace(v.stderr.String()))
		var e *exec.ExitError
		if errors.As(err, &e) && e.Sys().(syscall.WaitStatus).Signaled() && v.exit.Reason == "" {
			v.exit.Reason = "killed"
		}
	}
	// What the guest said last may still be on its way when QEMU is gone.
	v.readers.Wait()
	os.RemoveAll(v.dir)
	close(v.done)
	v.console.end(v.exitError())
	for _, c := range conns {
		c.Close()
	}
}

func (v *VM) exitError() error {
	if v.exit.Err != nil {
		return fmt.Errorf("%w: %s (%w)", ErrExited, v.exit.Reason, v.exit.Err)
	}
	return fmt.Errorf("%w: %s", ErrExited, v.exit.Reason)
}

// Expect waits until re matches the serial output after the previous match and
// returns the match and its groups. It fails at once when the guest's kernel
// panics or the machine ends.
func (v *VM) Expect(re string, limit time.Duration) ([]string, error) {
	compiled, err := regexp.Compile(re)
	if err != nil {
		return nil, fmt.Errorf("expect: %w", err)
	}
	return v.console.expect(compiled, limit)
}

// Transcript is the whole serial output so far.
func (v *VM) Transcript() string {
	text, _, _ := v.console.from(0)
	return string(text)
}

// Type sends text to the serial console, as if typed.
func (v *VM) Type(text string) error {
	if _, err := io.WriteString(v.stdin, text); err != nil {
		return fmt.Errorf("type: %w", err)
	}
	return nil
}

// Died is closed when the machine has ended.
func (v *VM) Died() <-chan struct{} { return v.done }

// Wait waits for the machine's end.
func (v *VM) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-v.done:
		return v.exit, nil
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("vm %s still runs: %w\n%s", v.Config.Name, ctx.Err(), v.console.tail(25))
	}
}

// PowerCut ends QEMU with SIGKILL and waits for that. What the guest has
// written is in the host's cache and stays, as with a disk that has a working
// cache; what it had not written is lost.
func (v *VM) PowerCut() {
	_ = v.cmd.Process.Kill()
	<-v.done
}

func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "vm socket")
	defer ours.Close()
	theirs := os.NewFile(uintptr(fds[1]), "qemu socket")
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return conn, theirs, nil
}

func copyIfAbsent(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
