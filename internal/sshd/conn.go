package sshd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// user is the only one of this system.
const user = "root"

// maxChannels is how many sessions and forwarded connections one client has at
// a time. kubectl through a tunnel takes a connection or two for each command.
const maxChannels = 32

// login is what is known of a connection while it logs in.
type login struct {
	server  *server
	refused string // why the last key or user was
	key     authorizedKey
}

func (l *login) config(signer ssh.Signer) *ssh.ServerConfig {
	config := &ssh.ServerConfig{
		Config: ssh.Config{
			// What every OpenSSH since 6.5 (2014) can do, and the hybrid
			// with ML-KEM of those since 9.9.
			KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
			Ciphers:      []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES256GCM, ssh.CipherAES128GCM, ssh.CipherAES256CTR},
			MACs:         []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
		},
		PublicKeyAuthAlgorithms: keyAlgorithms(),
		PublicKeyCallback:       l.check,
		// No version: that is nobody's business before the login.
		ServerVersion: "SSH-2.0-KubeSoloOS",
	}
	config.AddHostKey(signer)
	return config
}

// errRefused is all that a client is told.
var errRefused = errors.New("refused")

// check is asked for each key that a client offers; whether it has the private
// half is checked by package ssh.
func (l *login) check(conn ssh.ConnMetadata, offered ssh.PublicKey) (*ssh.Permissions, error) {
	if conn.User() != user {
		l.refused = "user " + printable(conn.User()) + ": only root can log in"
		return nil, errRefused
	}
	keys, _, err := readKeys(l.server.Config)
	if err != nil {
		l.refused = err.Error()
		return nil, errRefused
	}
	key, ok := findKey(keys, offered)
	if !ok {
		l.refused = "key " + ssh.FingerprintSHA256(offered) + " is not in the configuration"
		return nil, errRefused
	}
	// A client may offer several keys and log in with another than the
	// last: what it used comes back with its permissions.
	return &ssh.Permissions{Extensions: map[string]string{"fingerprint": key.fingerprint, "comment": key.comment}}, nil
}

// printable bounds what a stranger gets into the log.
func printable(name string) string {
	const most = 32
	out := make([]byte, 0, most)
	for i := range min(len(name), most) {
		c := name[i]
		if c <= ' ' || c > '~' {
			c = '?'
		}
		out = append(out, c)
	}
	return string(out)
}

// serve takes one connection from its first byte to its last process.
func (s *server) serve(ctx context.Context, conn net.Conn, signer ssh.Signer) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	from := address(conn)
	_ = conn.SetDeadline(time.Now().Add(loginLimit)) // no error for an open connection
	l := &login{server: s}
	logged, channels, requests, err := ssh.NewServerConn(conn, l.config(signer))
	if err != nil {
		s.notLoggedIn(from, l, err)
		return
	}
	s.guard.done(from, loggedIn)
	_ = conn.SetDeadline(time.Time{})
	fingerprint, comment := logged.Permissions.Extensions["fingerprint"], logged.Permissions.Extensions["comment"]
	s.Log.Info("ssh: login", "from", conn.RemoteAddr().String(), "key", fingerprint, "comment", comment)
	s.mu.Lock()
	s.connections[logged] = fingerprint
	s.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	go ssh.DiscardRequests(requests) // ends with the connection
	c := &client{server: s, conn: logged, places: make(chan struct{}, maxChannels)}
	c.run(ctx, channels)
	cancel() // nothing outlives the connection
	c.wait.Wait()
	s.mu.Lock()
	delete(s.connections, logged)
	s.mu.Unlock()
	s.Log.Info("ssh: logout", "from", conn.RemoteAddr().String(), "key", fingerprint)
}

func (s *server) notLoggedIn(from netip.Addr, l *login, err error) {
	why := l.refused
	var timeout net.Error
	switch {
	case why != "":
	case errors.As(err, &timeout) && timeout.Timeout():
		why = "no login in " + loginLimit.String()
	default:
		s.guard.done(from, neither)
		return
	}
	s.guard.done(from, failedLogin)
	s.refused(from, why)
}

// refused logs a refusal, one line for each source and minute.
func (s *server) refused(from netip.Addr, why string) {
	if since, ok := s.guard.worthALine(from); ok {
		s.Log.Warn("ssh: refused", "from", from.String(), "why", why, "not-logged-since-last", since)
	}
}

// client is a connection that is logged in.
type client struct {
	server *server
	conn   *ssh.ServerConn
	places chan struct{}
	wait   sync.WaitGroup
}

// run hands out channels until the connection ends.
func (c *client) run(ctx context.Context, channels <-chan ssh.NewChannel) {
	for offered := range channels {
		var serve func(context.Context, ssh.NewChannel)
		switch offered.ChannelType() {
		case "session":
			serve = c.session
		case "direct-tcpip":
			serve = c.forward
		default:
			_ = offered.Reject(ssh.UnknownChannelType, "not supported by this server")
			continue
		}
		select {
		case c.places <- struct{}{}:
		default:
			_ = offered.Reject(ssh.ResourceShortage, "too many sessions and forwarded connections at a time")
			continue
		}
		c.wait.Go(func() {
			defer func() { <-c.places }()
			serve(ctx, offered)
		})
	}
}

func address(conn net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
