package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/cgroup"
	"kubesolo.io/os/internal/klog"
	"kubesolo.io/os/internal/reap"
)

// Lines of a dead service's output that are part of its error, and bytes of
// its log file, of which there are two at most.
const (
	lastLines  = 5
	maxLogSize = 8 << 20
)

// Host starts services as real processes.
type Host struct {
	Reaper *reap.Reaper
	// Groups is nil on a machine without cgroup v2: services then have no
	// limits, and what they leave behind when they end is not found.
	Groups *cgroup.Tree
	// LogDir gets one file a service; "" keeps output in memory only.
	LogDir string
	Log    *slog.Logger
}

// Start implements Runner. A program that is missing or cannot be executed is
// one error that says what to do; it names the program and not the service,
// which is what the one who asked has in front of it.
func (h Host) Start(svc Service) (Process, error) {
	p := &process{keep: svc.Stop.KeepChildren, tail: klog.NewTail(lastLines), exit: make(chan Exit, 1), outputEnd: make(chan struct{})}
	attr := &syscall.ProcAttr{Dir: orSlash(svc.Dir), Env: svc.Env, Sys: &syscall.SysProcAttr{Setsid: true}}
	if h.Groups != nil {
		dir, err := h.enterGroup(p, svc)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	attr.Files = []uintptr{null.Fd(), in.Fd(), in.Fd()}
	child, err := svc.Rights.start(func() (*reap.Process, error) {
		return h.Reaper.Start(svc.Argv[0], svc.Argv, attr)
	})
	if err != nil {
		return nil, errors.Join(explain(svc.Argv[0], err), out.Close())
	}
	p.child = child
	if svc.OOMScoreAdj != 0 {
		file := filepath.Join("/proc", strconv.Itoa(child.Pid), "oom_score_adj")
		if err := os.WriteFile(file, []byte(strconv.Itoa(svc.OOMScoreAdj)), 0); err != nil {
			h.Log.Debug("oom score not set", "service", svc.Name, "err", err)
		}
	}
	go h.output(svc.Name, p, out)
	go p.wait()
	return p, nil
}

func orSlash(dir string) string {
	if dir == "" {
		return "/"
	}
	return dir
}

// groupEmpties is how long a start waits for what was killed in the group to be
// gone, a few milliseconds as a rule; its owner answers nobody meanwhile.
const groupEmpties = 500 * time.Millisecond

// enterGroup prepares the service's control group, a new one for each start
// (see cgroup.Group.Remove) unless children of the last one still live there.
// A limit that cannot be set is a warning: a node without a memory floor is
// better than none.
func (h Host) enterGroup(p *process, svc Service) (*os.File, error) {
	group, err := h.Groups.Make(svc.Name)
	if err == nil {
		if !svc.Stop.KeepChildren {
			ctx, cancel := context.WithTimeout(context.Background(), groupEmpties)
			_ = group.WaitEmpty(ctx) // said below
			cancel()
		}
		if removed := group.Remove(); removed == nil {
			group, err = h.Groups.Make(svc.Name)
		} else if !svc.Stop.KeepChildren {
			h.Log.Warn("control group is used again", "service", svc.Name, "err", removed)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := group.Apply(svc.Limits); err != nil {
		h.Log.Warn("limits not set", "service", svc.Name, "err", err)
	}
	dir, err := group.Dir()
	if err != nil {
		return nil, err
	}
	p.group = group
	p.ooms, err = group.OOMKills()
	if err != nil {
		h.Log.Debug("memory events", "service", svc.Name, "err", err)
	}
	return dir, nil
}

// explain adds the way out to what execve says.
func explain(program string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := os.Stat(program); statErr == nil {
			return fmt.Errorf("%w: the file is there, but its interpreter (the C library's loader) is not in this image: use a static binary", err)
		}
		return fmt.Errorf("%w: the program is not in this image: rebuild the image with it", err)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%w: not a program for this machine (%s)", err, machine())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: not executable, or on a noexec file system", err)
	}
	return err
}

func machine() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// output follows the pipe to its end, which is when the last process that
// holds it ends: that may be long after the service itself.
func (h Host) output(name string, p *process, out *os.File) {
	defer close(p.outputEnd)
	defer out.Close()
	defer func() {
		if v := recover(); v != nil {
			h.Log.Error("output reader panic", "service", name, "panic", v)
		}
	}()
	var file logFile = discard{}
	if h.LogDir != "" {
		f, err := klog.OpenFile(filepath.Join(h.LogDir, name+".log"), maxLogSize)
		if err != nil {
			h.Log.Warn("service log is kept in memory only", "service", name, "err", err)
		} else {
			file = f
		}
	}
	defer file.Close()
	if err := klog.Copy(file, p.tail, out); err != nil {
		h.Log.Warn("service log is incomplete", "service", name, "err", err)
	}
}

type logFile interface {
	Write([]byte) (int, error)
	Close() error
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }

type process struct {
	child     *reap.Process
	group     *cgroup.Group
	keep      bool
	ooms      uint64
	tail      *klog.Tail
	outputEnd chan struct{}
	exit      chan Exit
}

func (p *process) Pid() int                     { return p.child.Pid }
func (p *process) Exited() <-chan Exit          { return p.exit }
func (p *process) Signal(sig unix.Signal) error { return p.child.Signal(sig) }

// Kill implements Process.
func (p *process) Kill() error {
	if p.group != nil && !p.keep {
		return p.group.Kill()
	}
	if err := p.child.Signal(unix.SIGKILL); !errors.Is(err, reap.ErrExited) {
		return err
	}
	return nil
}

// wait passes on the end of the process together with its last words. A child
// that holds the pipe may keep it open: 200 ms are enough for what is in it.
func (p *process) wait() {
	e := <-p.child.Exited()
	select {
	case <-p.outputEnd:
	case <-time.After(200 * time.Millisecond):
	}
	exit := Exit{Reason: e.String(), Last: p.tail.Lines()}
	if p.group != nil {
		if n, err := p.group.OOMKills(); err == nil && n > p.ooms {
			exit.OOM = true
		}
	}
	p.exit <- exit
}
