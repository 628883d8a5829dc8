package vmtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
)

// qmp speaks QEMU's machine protocol (docs/interop/qmp-spec): one JSON object
// a line, answers in order, events in between.
type qmp struct {
	conn    net.Conn
	command sync.Mutex // one command at a time
	answers chan qmpMessage
	done    chan struct{} // closed when the connection ends

	mu     sync.Mutex
	reason string // of the SHUTDOWN event
}

type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

func newQMP(conn net.Conn) *qmp {
	q := &qmp{conn: conn, answers: make(chan qmpMessage, 1), done: make(chan struct{})}
	go q.read()
	return q
}

func (q *qmp) read() {
	defer close(q.done)
	lines := bufio.NewScanner(q.conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m qmpMessage
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // not ours to judge; a missing answer is seen by the caller
		}
		switch {
		case m.Event == "SHUTDOWN":
			q.mu.Lock()
			q.reason = m.Data.Reason
			q.mu.Unlock()
		case m.Return != nil || m.Error != nil:
			q.answers <- m
		}
	}
}

func (q *qmp) shutdownReason() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.reason
}

// do runs one command and unmarshals its result into out unless out is nil.
func (q *qmp) do(ctx context.Context, command string, arguments, out any) error {
	q.command.Lock()
	defer q.command.Unlock()
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	if _, err := q.conn.Write(append(request, '\n')); err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case m := <-q.answers:
		if m.Error != nil {
			return fmt.Errorf("qmp %s: %s: %s", command, m.Error.Class, m.Error.Desc)
		}
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(m.Return, out); err != nil {
			return fmt.Errorf("qmp %s: %w", command, err)
		}
		return nil
	case <-q.done:
		return fmt.Errorf("qmp %s: %w", command, ErrExited)
	case <-ctx.Done():
		// The late answer would be taken for the next command's.
		q.conn.Close()
		return fmt.Errorf("qmp %s: %w", command, ctx.Err())
	}
}

// keys presses all keys at once and lets them go: the names are QEMU's
// QKeyCodes ("ctrl", "alt", "delete").
func (q *qmp) keys(ctx context.Context, names ...string) error {
	type key struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	pressed := make([]key, len(names))
	for i, n := range names {
		pressed[i] = key{"qcode", n}
	}
	return q.do(ctx, "send-key", map[string]any{"keys": pressed}, nil)
}

// forwarded parses `info usernet` for the host's side of a forwarded port:
//
//	Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
//	TCP[HOST_FORWARD]  12       127.0.0.1 45123       10.0.2.15  6443     0     0
func forwarded(usernet string, guest int) (int, error) {
	for line := range strings.Lines(usernet) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != "TCP[HOST_FORWARD]" {
			continue
		}
		var host, to int
		if _, err := fmt.Sscan(f[3]+" "+f[5], &host, &to); err == nil && to == guest {
			return host, nil
		}
	}
	return 0, fmt.Errorf("guest port %d is not forwarded", guest)
}
