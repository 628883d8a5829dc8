package event

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Client sends events to the socket that Serve listens on.
type Client struct{ conn *net.UnixConn }

// Dial connects to the events socket at path (see Socket).
func Dial(path string) (*Client, error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return &Client{conn: conn}, nil
}

// Emit sends e as one datagram. It is lost when the receiver is not there or
// does not read within 100 ms: events are news, not records.
func (c *Client) Emit(e Event) {
	if e.Time == 0 {
		e.Time = Now()
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		return
	}
	_, _ = c.conn.Write(Encode(e))
}

// Close ends the client.
func (c *Client) Close() error { return c.conn.Close() }

// Listen makes the socket at path, for root only. A stale socket file of an
// earlier process is replaced.
func Listen(path string) (*net.UnixConn, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("events: %w", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("events: %w", errors.Join(err, conn.Close()))
	}
	return conn, nil
}

// Serve passes what arrives on conn to sink until conn is closed. Datagrams
// that are no events are dropped.
func Serve(conn *net.UnixConn, sink Sink) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("events: %w", err)
		}
		if e, err := Decode(buf[:n]); err == nil {
			sink.Emit(e)
		}
	}
}
