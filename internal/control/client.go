package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"

	"golang.org/x/sys/unix"
)

// maxReply bounds one line of an answer.
const maxReply = 4 << 20

// Errors of Call.
var (
	// ErrNoNode: there is no socket, so this is no node, or not its namespace.
	ErrNoNode = errors.New("no control socket: is this a node? (in a container of one: chroot or nsenter into PID 1's namespaces)")
	// ErrRefused: the node has answered, and the answer is no.
	ErrRefused = errors.New("refused")
	// ErrCutOff: the connection ended before the answer did.
	ErrCutOff = errors.New("the node hung up in the middle of the answer")
)

// Call asks the ksinit that listens at path, and hands each reply to take. It
// returns at the end of the answer, when take fails, or when ctx ends.
func Call(ctx context.Context, path string, r Request, take func(json.RawMessage) error) error {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", path, ErrNoNode)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: only root may", path, fs.ErrPermission)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%s: %w: nobody listens, as while the node shuts down", path, err)
	case err != nil:
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// A server that has no place left answers, and hangs up before it was asked.
	_, unsaid := conn.Write(append(line, '\n'))
	in := bufio.NewScanner(conn)
	in.Buffer(nil, maxReply)
	for in.Scan() {
		var reply Reply
		if err := json.Unmarshal(in.Bytes(), &reply); err != nil {
			return fmt.Errorf("%s: %q is no reply: %w", path, in.Text(), err)
		}
		switch {
		case reply.Error != "":
			return fmt.Errorf("%w: %s", ErrRefused, reply.Error)
		case reply.End:
			return nil
		}
		if err := take(reply.Data); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(ErrCutOff, unsaid, in.Err())
}

// Get asks for one thing and puts it into v.
func Get(ctx context.Context, path, verb string, v any) error {
	return Call(ctx, path, Request{Verb: verb}, func(data json.RawMessage) error {
		if err := json.Unmarshal(data, v); err != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
		return nil
	})
}
