package sshd

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// Bounds of what a client may set.
const (
	maxVariables = 32
	maxVariable  = 1024 // bytes of a value
	maxTermName  = 64
)

// session is one channel of type "session" (RFC 4254 section 6): at most one
// shell or command runs in it.
type session struct {
	client   *client
	channel  ssh.Channel
	env      []string
	terminal *terminal
	process  *process
}

// terminal is what a client asked for with pty-req.
type terminal struct {
	name  string
	size  windowSize
	modes []byte
}

// windowSize is in characters and pixels, in the order of the wire.
type windowSize struct{ Columns, Rows, Width, Height uint32 }

func (c *client) session(ctx context.Context, offered ssh.NewChannel) {
	channel, requests, err := offered.Accept()
	if err != nil {
		return // the connection ended
	}
	defer channel.Close()
	s := &session{client: c, channel: channel}
	var exited <-chan exit // nil until something runs
	for {
		select {
		case r, ok := <-requests:
			if !ok { // the client closed the channel, or is gone
				s.hangUp()
				return
			}
			if done := s.request(r); done {
				// The client may send more before it sees the end.
				go ssh.DiscardRequests(requests)
				return
			}
			if s.process != nil {
				exited = s.process.exited
			}
		case e := <-exited:
			go ssh.DiscardRequests(requests)
			e.tell(channel)
			return
		case <-ctx.Done():
			go ssh.DiscardRequests(requests)
			s.hangUp()
			return
		}
	}
}

func (s *session) hangUp() {
	if s.process != nil {
		s.process.hangUp()
	}
}

// request answers one request; done tells that the session is over.
func (s *session) request(r *ssh.Request) (done bool) {
	ok := false
	switch r.Type {
	case "pty-req":
		ok = s.process == nil && s.wantTerminal(r.Payload)
	case "env":
		ok = s.process == nil && s.setVariable(r.Payload)
	case "shell":
		return s.run(r, "")
	case "exec":
		var command struct{ Line string }
		if ssh.Unmarshal(r.Payload, &command) == nil {
			return s.run(r, command.Line)
		}
	case "window-change":
		var size windowSize
		if s.process != nil && ssh.Unmarshal(r.Payload, &size) == nil {
			ok = s.process.resize(size) == nil
		}
	case "signal":
		var signal struct{ Name string }
		if s.process != nil && ssh.Unmarshal(r.Payload, &signal) == nil {
			if n := unix.SignalNum("SIG" + signal.Name); n != 0 {
				ok = s.process.signal(n) == nil
			}
		}
	}
	// All others are refused: subsystems (sftp), agent and X11 forwarding.
	_ = r.Reply(ok, nil)
	return false
}

func (s *session) wantTerminal(payload []byte) bool {
	var want struct {
		Name                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if ssh.Unmarshal(payload, &want) != nil {
		return false
	}
	s.terminal = &terminal{
		name: want.Name, modes: []byte(want.Modes),
		size: windowSize{want.Columns, want.Rows, want.Width, want.Height},
	}
	if !plain(want.Name, maxTermName) || want.Name == "" {
		s.terminal.name = "dumb"
	}
	return true
}

// setVariable takes the language and nothing else: a variable such as LD_PRELOAD
// or ENV changes what a command does.
func (s *session) setVariable(payload []byte) bool {
	var v struct{ Name, Value string }
	if ssh.Unmarshal(payload, &v) != nil || len(s.env) >= maxVariables {
		return false
	}
	if v.Name != "LANG" && (!strings.HasPrefix(v.Name, "LC_") || strings.Contains(v.Name, "=") || !plain(v.Name, maxTermName)) {
		return false
	}
	if !plain(v.Value, maxVariable) {
		return false
	}
	s.env = append(s.env, v.Name+"="+v.Value)
	return true
}

// plain tells whether text is printable ASCII of at most that length.
func plain(text string, most int) bool {
	return len(text) <= most && strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// run starts the shell, or a command in it. A client that asks a second time is
// refused.
func (s *session) run(r *ssh.Request, command string) (done bool) {
	if s.process != nil {
		_ = r.Reply(false, nil)
		return false
	}
	p, err := s.client.server.start(s, command)
	_ = r.Reply(true, nil) // with false OpenSSH's client would show no reason
	if err != nil {
		s.client.server.Log.Warn("ssh: session", "err", err)
		fmt.Fprintf(s.channel.Stderr(), "ssh: %v\r\n", err)
		exit{status: 126}.tell(s.channel)
		return true
	}
	s.process = p
	return false
}

// exit is how a process ended.
type exit struct {
	status int
	signal unix.Signal // not 0: it was killed
	core   bool
}

// tell sends it (RFC 4254 section 6.10), and the end of the output only then: a
// client that has nothing to say closes the channel at that, and would miss the
// status (seen with OpenSSH 9.2, in three of twenty sessions). The client may be
// gone by now.
func (e exit) tell(channel ssh.Channel) {
	defer func() { _ = channel.CloseWrite() }()
	if e.signal == 0 {
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(e.status)}))
		return
	}
	_, _ = channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
		Name     string
		Core     bool
		Message  string
		Language string
	}{strings.TrimPrefix(unix.SignalName(e.signal), "SIG"), e.core, "", ""}))
}
