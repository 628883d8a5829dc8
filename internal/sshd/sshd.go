// Package sshd is the SSH server for operators: a root shell on the node for
// those whose public key is in the configuration.
//
// It owns the listener, which is there only while there are keys, the host
// key, logins, and the processes of sessions, each in a control group of its
// own that ends with it. It never knows a password, a user but root, file
// transfer, agents, or a way through the node except to its own Kubernetes API
// server. It never changes the configuration. Its tests drive it with OpenSSH's
// client over loopback.
package sshd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/cgroup"
)

// lookEvery is how soon the listener follows keys that appear or go. A login
// itself always reads the keys afresh.
const lookEvery = 5 * time.Second

// Options of a server. All but Groups have to be given.
type Options struct {
	Address string // to listen on, ":22"
	Config  string // effective configuration of the node, JSON; read at each login
	HostKey string // made when it is not there; its directory has to be
	Shell   string // runs sessions and commands; named without its path
	API     string // host:port, the only target of forwarded connections
	// Groups holds a group for each session; nil: sessions are process
	// groups only, and what leaves one of those outlives its session.
	Groups *cgroup.Tree
	Log    *slog.Logger
}

// Run serves until ctx ends, and returns when all sessions have ended. What
// goes wrong is logged; nothing ends the server but ctx.
func Run(ctx context.Context, o Options) {
	s := &server{Options: o, guard: newGuard(), connections: map[*ssh.ServerConn]string{}}
	s.removeGroups(ctx)
	defer s.wait.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			s.close()
			return
		case <-tick.C:
		}
	}
}

type server struct {
	Options
	guard *guard
	wait  sync.WaitGroup

	// Of Run's goroutine.
	listener net.Listener
	signer   ssh.Signer
	said     string // the last complaint about the configuration or the listener

	mu          sync.Mutex
	connections map[*ssh.ServerConn]string // logged in, with the key's fingerprint
	sessions    int                        // so far; the number names a group
}

// look makes the listener and the connections follow the configuration. While
// that cannot be read nobody logs in, and what is open stays open.
func (s *server) look(ctx context.Context) {
	keys, complaint, err := readKeys(s.Config)
	if err != nil {
		s.complain(err.Error())
		return
	}
	s.revoke(keys)
	if len(keys) == 0 {
		s.close()
		s.complain(complaint)
		return
	}
	if s.listener == nil {
		if err := s.listen(ctx); err != nil {
			s.complain(err.Error())
			return
		}
		s.Log.Info("ssh: listening", "address", s.listener.Addr().String(), "keys", len(keys),
			"host-key", ssh.FingerprintSHA256(s.signer.PublicKey()))
	}
	s.complain(complaint)
}

// complain logs what is wrong, once until it changes.
func (s *server) complain(what string) {
	if what != "" && what != s.said {
		s.Log.Warn("ssh: " + what)
	}
	s.said = what
}

func (s *server) listen(ctx context.Context) error {
	if s.signer == nil {
		signer, err := hostKey(s.HostKey)
		if err != nil {
			s.Log.Warn("ssh: the host key is for this boot only", "err", err)
		}
		if signer == nil {
			return err
		}
		s.signer = signer
	}
	listener, err := listenOn(ctx, s.Address)
	if err != nil {
		return err
	}
	s.listener = listener
	signer := s.signer
	s.wait.Go(func() { s.accept(ctx, listener, signer) })
	return nil
}

// goneAfter is when a client that vanished without a word is taken for gone, and
// its sessions end.
const goneAfter = time.Minute

// listenOn makes the listener, whose connections inherit what is set here.
func listenOn(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{
		// While nothing is said.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: goneAfter / 2, Interval: goneAfter / 6, Count: 3},
		// While output is not acknowledged, for which the kernel's own limit
		// is some 15 minutes (tcp(7), tcp_retries2).
		Control: func(_, _ string, c syscall.RawConn) error {
			var result error
			err := c.Control(func(fd uintptr) {
				result = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(goneAfter/time.Millisecond))
			})
			return errors.Join(err, result)
		},
	}
	return config.Listen(ctx, "tcp", address)
}

func (s *server) close() {
	if s.listener == nil {
		return
	}
	_ = s.listener.Close() // ends accept
	s.Log.Info("ssh: not listening any more")
	s.listener = nil
}

func (s *server) accept(ctx context.Context, listener net.Listener, signer ssh.Signer) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if isClosed(err) {
				return
			}
			// Out of descriptors: those who are here will free some.
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		from := address(conn)
		if why := s.guard.admit(from); why != "" {
			s.refused(from, why)
			_ = conn.Close()
			continue
		}
		s.wait.Go(func() { s.serve(ctx, conn, signer) })
	}
}

// revoke ends the connections of keys that are not in the configuration any
// more: taking a key out is how an operator is shut out.
func (s *server) revoke(keys []authorizedKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, fingerprint := range s.connections {
		if !hasFingerprint(keys, fingerprint) {
			s.Log.Info("ssh: closed, the key is not in the configuration any more", "from", conn.RemoteAddr().String(), "key", fingerprint)
			_ = conn.Close()
		}
	}
}

// removeGroups ends what an earlier run of this program left behind, whose
// connections ended with it. A group that was killed is not used again (see
// cgroup.Group.Remove), so it goes too.
func (s *server) removeGroups(ctx context.Context) {
	if s.Groups == nil {
		return
	}
	group, err := s.Groups.Make(groupName)
	if err == nil {
		err = endGroup(ctx, group)
	}
	if err != nil {
		s.Log.Warn("ssh: sessions of an earlier run", "err", err)
	}
}
