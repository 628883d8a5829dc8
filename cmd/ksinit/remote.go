package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cloudinit"
)

// remoteDocument names the document of the network among the good ones.
const remoteDocument = "url"

// remoteWait is for all tries together: the services wait for this step. A try
// that hangs may take all of it: within one the kernel asks a silent server
// again and again, and a slow one needs that time.
const remoteWait = 15 * time.Second

// fetchConfig reads the document that kubesolo.cloudinit= names by URL. The
// network is up by then, so what it says of the network has no effect.
func (n *node) fetchConfig(ctx context.Context) error {
	if !strings.Contains(n.args.CloudInit, "://") {
		return nil
	}
	hostname := n.config.Hostname
	errs := []error{
		n.addRemote(ctx, time.Second, 2*time.Second, 4*time.Second),
		n.mergeConfig(),
	}
	if n.config.Hostname != hostname {
		errs = append(errs, n.setHostname(ctx))
	}
	errs = append(errs, n.applySettings(ctx))
	return boot.Degraded(errors.Join(errs...))
}

// addRemote appends the document of the URL, or the last good one of this URL.
// There is one try more than pauses.
func (n *node) addRemote(ctx context.Context, pauses ...time.Duration) error {
	d := document{name: remoteDocument, kind: cloudinit.CloudConfig, origin: n.args.CloudInit}
	d.text, d.err = fetch(ctx, d.origin, pauses)
	if d.err != nil {
		d.remedy = "see that the server answers, then restart the node"
		if errors.As(d.err, new(final)) {
			d.remedy = "mend the address or what is there, then restart the node"
		}
		d.err = fmt.Errorf("kubesolo.cloudinit=%s: %w", d.origin, d.err)
	}
	errs := []error{n.addDocument(ctx, d)}
	if last := &n.parts[len(n.parts)-1]; last.Network != nil {
		last.Network = nil
		if last.Source == d.origin { // of the good one it was said when it came
			errs = append(errs, fmt.Errorf("%s: network has no effect here, since the network brought this document", d.origin))
		}
	}
	return errors.Join(errs...)
}

// final marks an error that another try would give again.
type final struct{ error }

// fetch gets the file again until it is there or the time is up: a server that
// was switched on together with this machine needs a while.
func fetch(ctx context.Context, address string, pauses []time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteWait)
	defer cancel()
	for try := 0; ; try++ {
		text, err := httpGet(ctx, address)
		if err == nil || errors.As(err, new(final)) {
			return text, err
		}
		more := try < len(pauses)
		if more {
			select {
			case <-ctx.Done():
				more = false
			case <-time.After(pauses[try]):
			}
		}
		if !more && try > 0 {
			err = fmt.Errorf("%w, %d tries", err, try+1)
		}
		if !more {
			return nil, err
		}
	}
}

// httpGet is as much HTTP as one file from a local server needs (RFC 9110,
// HTTP/1.0 so that nothing is chunked). PID 1 links no TLS: a document that
// has to come over an untrusted network belongs on the medium.
func httpGet(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, final{err}
	}
	if u.Scheme != "http" || u.Host == "" {
		return nil, final{errors.New("only http:// and files are possible at boot: put the document on the data partition instead")}
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "80")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\nAccept: */*\r\nUser-Agent: ksinit\r\n\r\n", u.RequestURI(), u.Host); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(answer) > maxConfig {
		return nil, final{fmt.Errorf("longer than %d bytes", maxConfig)}
	}
	head, body, ok := strings.Cut(string(answer), "\r\n\r\n")
	status, header, _ := strings.Cut(head, "\r\n")
	f := strings.Fields(status)
	if !ok || len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") || f[1] != "200" {
		err := fmt.Errorf("the server says %.80q", status)
		if ok && len(f) > 1 && len(f[1]) == 3 && f[1] < "500" {
			return nil, final{err}
		}
		return nil, err
	}
	// Half of a document may well be a valid one.
	for line := range strings.Lines(header) {
		name, value, _ := strings.Cut(line, ":")
		if size, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && strings.EqualFold(name, "Content-Length") && len(body) < size {
			return nil, fmt.Errorf("only %d of %d bytes came", len(body), size)
		}
	}
	return []byte(body), nil
}
