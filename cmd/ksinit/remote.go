package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cloudinit"
)

// fetchConfig reads the document that kubesolo.cloudinit= names by URL. The
// network is up by then, so what it says of the network has no effect.
func (n *node) fetchConfig(ctx context.Context) error {
	if !strings.Contains(n.args.CloudInit, "://") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	text, err := httpGet(ctx, n.args.CloudInit)
	if err != nil {
		return fmt.Errorf("kubesolo.cloudinit: %w", err)
	}
	hostname := n.config.Hostname
	errs := []error{n.addDocument(ctx, document{name: "url", kind: cloudinit.CloudConfig, origin: n.args.CloudInit, text: text})}
	if last := &n.parts[len(n.parts)-1]; last.Network != nil {
		last.Network = nil
		errs = append(errs, fmt.Errorf("%s: network has no effect here, since the network brought this document", n.args.CloudInit))
	}
	errs = append(errs, n.mergeConfig())
	if n.config.Hostname != hostname {
		errs = append(errs, n.setHostname(ctx))
	}
	errs = append(errs, n.applySettings(ctx))
	return boot.Degraded(errors.Join(errs...))
}

// httpGet is as much HTTP as one file from a local server needs (RFC 9110,
// HTTP/1.0 so that nothing is chunked). PID 1 links no TLS: a document that
// has to come over an untrusted network belongs on the medium.
func httpGet(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("%s: only http:// and files are possible at boot: put the document on the data partition instead", address)
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
		return nil, fmt.Errorf("%s: longer than %d bytes", address, maxConfig)
	}
	head, body, ok := strings.Cut(string(answer), "\r\n\r\n")
	status, _, _ := strings.Cut(head, "\r\n")
	if f := strings.Fields(status); !ok || len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") || f[1] != "200" {
		return nil, fmt.Errorf("%s: the server says %.80q", address, status)
	}
	return []byte(body), nil
}
