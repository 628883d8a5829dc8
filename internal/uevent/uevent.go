// Package uevent receives the kernel's device events (NETLINK_KOBJECT_UEVENT):
// what udev listens to on other systems. It owns the socket and the message
// format, and never acts on an event. The parser is pure and fuzzed; the socket
// is tested by asking the kernel to repeat an event.
package uevent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one message: "ACTION@DEVPATH" followed by KEY=value strings.
type Event struct {
	Action string // add, remove, change, move, bind, unbind, online, offline
	Path   string // below /sys, with a leading slash
	Env    map[string]string
}

// ErrLost says that the kernel dropped events because nobody read them fast
// enough (ENOBUFS); the listener has to look at sysfs as a whole again.
var ErrLost = errors.New("device events were lost")

// maxMessage is the kernel's UEVENT_BUFFER_SIZE (2048) plus the header line.
const maxMessage = 8192

// Parse reads one message. Messages of udev itself ("libudev...") are refused.
func Parse(b []byte) (Event, error) {
	fields := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
	action, path, ok := strings.Cut(fields[0], "@")
	if !ok || action == "" || !strings.HasPrefix(path, "/") {
		return Event{}, fmt.Errorf("device event %.40q: no ACTION@/PATH", fields[0])
	}
	e := Event{Action: action, Path: path, Env: make(map[string]string, len(fields)-1)}
	for _, f := range fields[1:] {
		if k, v, ok := strings.Cut(f, "="); ok {
			e.Env[k] = v
		}
	}
	return e, nil
}

// Listener is an open socket. Events queue in the kernel from Listen on, so a
// caller that listens first and scans sysfs second misses nothing.
type Listener struct{ f *os.File }

// Listen opens the socket; it needs no privilege beyond being in the initial
// network namespace, where the kernel sends events of all devices.
func Listen() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("device events: %w", err)
	}
	// A cold plug of a big machine sends thousands at once. The force variant
	// is root's right; without it the default stays.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return nil, errors.Join(fmt.Errorf("device events: %w", err), unix.Close(fd))
	}
	return &Listener{f: os.NewFile(uintptr(fd), "uevent")}, nil
}

// Next waits for an event. It returns ErrLost after an overflow and the error
// of ctx when that ends. Malformed messages are skipped.
func (l *Listener) Next(ctx context.Context) (Event, error) {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = l.f.SetReadDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	defer func() {
		if !stop() {
			<-interrupted
			_ = l.f.SetReadDeadline(time.Time{})
		}
	}()
	buf := make([]byte, maxMessage)
	for {
		if err := ctx.Err(); err != nil {
			return Event{}, err
		}
		n, err := l.f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return Event{}, ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			return Event{}, ErrLost
		case err != nil:
			return Event{}, fmt.Errorf("device events: %w", err)
		}
		if e, err := Parse(buf[:n]); err == nil {
			return e, nil
		}
	}
}

// Pending is Next without waiting: false when no event is there now.
func (l *Listener) Pending() (Event, bool, error) {
	raw, err := l.f.SyscallConn()
	if err != nil {
		return Event{}, false, fmt.Errorf("device events: %w", err)
	}
	buf := make([]byte, maxMessage)
	for {
		var n int
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			n, readErr = unix.Read(int(fd), buf)
			return true
		})
		switch err = errors.Join(err, readErr); {
		case errors.Is(err, unix.EAGAIN):
			return Event{}, false, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			return Event{}, false, ErrLost
		case err != nil:
			return Event{}, false, fmt.Errorf("device events: %w", err)
		}
		if e, err := Parse(buf[:n]); err == nil {
			return e, true, nil
		}
	}
}

// Close ends the listener; a Next that waits returns an error.
func (l *Listener) Close() error { return l.f.Close() }
