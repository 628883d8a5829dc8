package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The limits of the server.
const (
	maxConnections = 16
	patience       = 5 * time.Second // for the request, and for each reply to be taken
)

// A Handler answers requests. It calls send for each reply, from one goroutine,
// and ends when ctx does: the one who asked has gone. Its error is the answer's.
type Handler interface {
	Handle(ctx context.Context, r Request, send func(any) error) error
}

// Listen makes the socket at path, for root only. A stale file of an earlier
// process is replaced.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

// Serve answers what arrives at l until it is closed.
func Serve(l *net.UnixListener, h Handler) error {
	slots := make(chan struct{}, maxConnections)
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			// No descriptors left, most likely: that passes.
			time.Sleep(100 * time.Millisecond)
			continue
		}
		c := &connection{UnixConn: conn}
		select {
		case slots <- struct{}{}:
			go func() {
				defer func() { <-slots }()
				c.serve(h)
			}()
		default:
			c.finish(fmt.Errorf("%d connections are open, which is the most there may be: end one", maxConnections))
			_ = conn.Close()
		}
	}
}

type connection struct {
	*net.UnixConn
	mu   sync.Mutex
	over bool
}

// serve takes one request and answers it. A panic of the handler is an answer
// too: in PID 1 it would be one of the kernel.
func (c *connection) serve(h Handler) {
	defer c.Close()
	defer func() {
		if p := recover(); p != nil {
			c.finish(fmt.Errorf("internal error: %v", p))
		}
	}()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	in := bufio.NewReaderSize(io.LimitReader(c.UnixConn, maxRequest), maxRequest)
	line, err := in.ReadSlice('\n')
	if err != nil {
		c.finish(fmt.Errorf("%w: no line of at most %d bytes within %v", ErrRequest, maxRequest, patience))
		return
	}
	r, err := Decode(line)
	if err != nil {
		c.finish(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go c.watch(cancel)
	c.finish(h.Handle(ctx, r, c.send))
}

// watch ends the answer when the one who asked hangs up: a follower of events
// that went away would otherwise keep its place until the next event. Nothing
// more is to come from there.
func (c *connection) watch(cancel func()) {
	_ = c.SetReadDeadline(time.Time{})
	_, _ = c.UnixConn.Read(make([]byte, 1))
	cancel()
}

func (c *connection) send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return c.write(Reply{Data: data})
}

func (c *connection) finish(err error) {
	r := Reply{End: true}
	if err != nil {
		r.Error = err.Error()
	}
	_ = c.write(r) // has hung up, or does not read
}

func (c *connection) write(r Reply) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return net.ErrClosed
	}
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	_, err = c.UnixConn.Write(append(line, '\n'))
	// After half a line nothing can be said any more.
	c.over = r.End || err != nil
	return err
}
