package sshd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/cgroup"
)

const (
	groupName = "ssh" // below which each session has a control group
	homeDir   = "/root"
	path      = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// hangUpGrace is what processes have after SIGHUP before SIGKILL: an editor
// saves its recovery file.
const hangUpGrace = 2 * time.Second

// process is the shell or command of a session and all that it starts.
type process struct {
	command *exec.Cmd
	group   *cgroup.Group // nil without control groups
	master  *os.File      // nil without a terminal
	outputs []*os.File    // our ends of what the process writes to
	exited  chan exit     // told once, when all output was sent and no process is left
	done    chan struct{} // closed then
}

// start runs the shell as a login shell, or command in it.
func (s *server) start(session *session, command string) (*process, error) {
	p := &process{exited: make(chan exit, 1), done: make(chan struct{})}
	p.command = exec.Command(s.Shell, "-c", command)
	if command == "" {
		p.command.Args = []string{"-" + filepath.Base(s.Shell)} // which makes it a login shell
	}
	p.command.Dir, p.command.Env = home(), environment(session)
	p.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.Groups != nil {
		dir, err := s.makeGroup(p)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		p.command.SysProcAttr.UseCgroupFD, p.command.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	var err error
	var outputs func()
	if session.terminal != nil {
		outputs, err = p.startOnTerminal(session)
	} else {
		outputs, err = p.startOnPipes(session)
	}
	if err != nil {
		if p.group != nil {
			err = errors.Join(err, p.group.Remove())
		}
		return nil, err
	}
	// A session inherits the agent's protection from being killed for memory,
	// which a command of an operator must not have: 0 is the kernel's default.
	score := filepath.Join("/proc", strconv.Itoa(p.command.Process.Pid), "oom_score_adj")
	if err := os.WriteFile(score, []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Log.Debug("ssh: oom score not set", "err", err)
	}
	s.wait.Go(func() { s.follow(p, outputs) })
	return p, nil
}

// home is where sessions begin.
func home() string {
	if unix.Access(homeDir, unix.X_OK) == nil {
		return homeDir
	}
	return "/"
}

func environment(session *session) []string {
	env := []string{"HOME=" + homeDir, "USER=" + user, "LOGNAME=" + user, "SHELL=/bin/sh", "PATH=" + path}
	from, fromPort, err1 := net.SplitHostPort(session.client.conn.RemoteAddr().String())
	to, toPort, err2 := net.SplitHostPort(session.client.conn.LocalAddr().String())
	if err1 == nil && err2 == nil {
		env = append(env, fmt.Sprintf("SSH_CONNECTION=%s %s %s %s", from, fromPort, to, toPort))
	}
	if session.terminal != nil {
		env = append(env, "TERM="+session.terminal.name)
	}
	return append(env, session.env...)
}

// makeGroup makes the control group of a session. Its number is new, as a group
// that was killed is not used again.
func (s *server) makeGroup(p *process) (*os.File, error) {
	s.mu.Lock()
	s.sessions++
	name := groupName + "/" + strconv.Itoa(s.sessions)
	s.mu.Unlock()
	var err error
	if p.group, err = s.Groups.Make(name); err != nil {
		return nil, err
	}
	return p.group.Dir()
}

func (p *process) startOnTerminal(session *session) (outputs func(), err error) {
	master, slave, err := openTerminal(*session.terminal)
	if err != nil {
		return nil, err
	}
	defer slave.Close()
	p.command.Stdin, p.command.Stdout, p.command.Stderr = slave, slave, slave
	p.command.SysProcAttr.Setctty = true // descriptor 0
	p.command.Env = append(p.command.Env, "SSH_TTY="+slave.Name())
	if err := p.command.Start(); err != nil {
		_ = master.Close()
		return nil, err
	}
	p.master, p.outputs = master, []*os.File{master}
	go func() {
		// Ends with the channel. The end of a client's input is not the
		// user's: the terminal stays, as with OpenSSH's server.
		_, _ = io.Copy(master, session.channel)
	}()
	return func() {
		// Ends with an error when no process has the terminal any more.
		_, _ = io.Copy(session.channel, master)
		_ = master.Close()
	}, nil
}

func (p *process) startOnPipes(session *session) (outputs func(), err error) {
	var ours, theirs [3]*os.File
	closeAll := func(files [3]*os.File) {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
	}
	defer func() { closeAll(theirs) }()
	for i := range ours {
		if ours[i], theirs[i], err = os.Pipe(); err != nil {
			closeAll(ours)
			return nil, err
		}
	}
	ours[0], theirs[0] = theirs[0], ours[0] // the process reads this one
	p.command.Stdin, p.command.Stdout, p.command.Stderr = theirs[0], theirs[1], theirs[2]
	if err := p.command.Start(); err != nil {
		closeAll(ours)
		return nil, err
	}
	p.outputs = ours[1:]
	go func() { // ends with the channel, or when the process stops reading
		_, _ = io.Copy(ours[0], session.channel)
		_ = ours[0].Close()
	}()
	return func() {
		var wait sync.WaitGroup
		for i, to := range map[int]io.Writer{1: session.channel, 2: session.channel.Stderr()} {
			wait.Go(func() {
				_, _ = io.Copy(to, ours[i])
				_ = ours[i].Close() // a client that is gone: the process sees it
			})
		}
		wait.Wait()
	}, nil
}

// follow waits for the end of the process and of all its output, and ends what
// is left of the session. On pipes a command that works on in the background
// holds them, and its output is waited for as it is with OpenSSH; on a terminal
// the end of the shell is the end.
func (s *server) follow(p *process, outputs func()) {
	defer close(p.done)
	sent := make(chan struct{})
	go func() { defer close(sent); outputs() }()
	_ = p.command.Wait() // its state has all that the error says
	if p.master != nil {
		p.kill()
	}
	<-sent
	if p.group != nil {
		// Bounded, and without the client's context, which may have ended.
		ctx, cancel := context.WithTimeout(context.Background(), hangUpGrace)
		if err := endGroup(ctx, p.group); err != nil {
			s.Log.Warn("ssh: session", "err", err)
		}
		cancel()
	} else {
		p.kill()
	}
	status, ok := p.command.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		p.exited <- exit{signal: status.Signal(), core: status.CoreDump()}
		return
	}
	p.exited <- exit{status: p.command.ProcessState.ExitCode()}
}

// endGroup kills what is in the group and removes it.
func endGroup(ctx context.Context, group *cgroup.Group) error {
	if err := group.Kill(); err != nil {
		return err
	}
	if err := group.WaitEmpty(ctx); err != nil {
		return err
	}
	return group.Remove()
}

// signal goes to the process group of the shell or command.
func (p *process) signal(n syscall.Signal) error {
	return unix.Kill(-p.command.Process.Pid, n)
}

// kill ends all processes of the session; there may be none.
func (p *process) kill() {
	if p.group == nil || p.group.Kill() != nil {
		_ = p.signal(unix.SIGKILL)
	}
}

// hangUp ends the session as a cut telephone line does, and waits for that.
func (p *process) hangUp() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.signal(unix.SIGHUP)
	_ = p.signal(unix.SIGCONT) // one that is stopped gets it too
	select {
	case <-p.done:
		return
	case <-time.After(hangUpGrace):
	}
	p.kill()
	select {
	case <-p.done:
		return
	case <-time.After(hangUpGrace):
	}
	// Without control groups a process can get away with the output.
	for _, f := range p.outputs {
		_ = f.Close()
	}
	<-p.done
}

func (p *process) resize(size windowSize) error {
	if p.master == nil {
		return errors.New("no terminal")
	}
	return control(p.master, func(fd int) error { return setSize(fd, size) })
}
