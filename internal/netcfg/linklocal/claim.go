package linklocal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// RFC 3927 §9.
const (
	probeWait        = time.Second // at random before the first probe
	probes           = 3
	probeMin         = time.Second
	probeMax         = 2 * time.Second
	announceWait     = 2 * time.Second
	announcements    = 2
	announceInterval = 2 * time.Second
	maxConflicts     = 10
	conflictPause    = time.Minute // between tries after that many
	retry            = 10 * time.Second
	prefixBits       = 16
)

// Options say for which link, and who is told.
type Options struct {
	Link string
	Log  *slog.Logger
	// Changed is called with an address to use, and with the zero Prefix when
	// it must not be used any more, from the goroutine of Run. When it returns
	// the link should be so.
	Changed func(netip.Prefix)
}

// Run keeps an address for the link until ctx ends. A conflict means another
// address: defending one would only matter for connections that are open, and
// both sides of a broken one may insist.
func Run(ctx context.Context, o Options) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	for n := uint32(0); ctx.Err() == nil; {
		wait := retry
		addr, err := claim(ctx, o, n)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errTaken):
			o.Log.Info("link-local address is taken, another one is tried", "link", o.Link, "address", addr)
			n++
			if wait = 0; n >= maxConflicts {
				wait = conflictPause
			}
		default:
			o.Log.Warn("no link-local address", "link", o.Link, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

var errTaken = errors.New("somebody else on the link uses the address")

// claim probes for the n-th address, gives it to the owner, and returns when
// somebody else uses it.
func claim(ctx context.Context, o Options, n uint32) (netip.Addr, error) {
	iface, err := net.InterfaceByName(o.Link)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("link %s: %w", o.Link, err)
	}
	if len(iface.HardwareAddr) != 6 {
		return netip.Addr{}, fmt.Errorf("%s is not Ethernet", o.Link)
	}
	s, err := open(iface)
	if err != nil {
		return netip.Addr{}, err
	}
	defer s.file.Close()
	defer context.AfterFunc(ctx, func() { s.file.SetReadDeadline(time.Now()) })()

	s.addr = candidate(iface.HardwareAddr, n)
	// Machines that lost power together do not ask together.
	if err := s.watch(ctx, rand.N(probeWait)); err != nil {
		return s.addr, err
	}
	for i := range probes {
		wait := probeMin + rand.N(probeMax-probeMin)
		if i == probes-1 {
			wait = announceWait
		}
		if err := s.send(netip.IPv4Unspecified()); err != nil {
			return s.addr, err
		}
		if err := s.watch(ctx, wait); err != nil {
			return s.addr, err
		}
	}
	o.Changed(netip.PrefixFrom(s.addr, prefixBits))
	for range announcements {
		if err := s.send(s.addr); err != nil {
			return s.addr, errors.Join(err, release(ctx, o))
		}
		if err := s.watch(ctx, announceInterval); err != nil {
			return s.addr, errors.Join(err, release(ctx, o))
		}
	}
	return s.addr, errors.Join(s.watch(ctx, 0), release(ctx, o))
}

// release takes the address back, unless the owner has ended this.
func release(ctx context.Context, o Options) error {
	if ctx.Err() == nil {
		o.Changed(netip.Prefix{})
	}
	return ctx.Err()
}

// socket sends and receives ARP on one link.
type socket struct {
	file *os.File
	link *net.Interface
	addr netip.Addr
}

func open(link *net.Interface) (*socket, error) {
	proto := int(htons(etherARP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(etherARP), Ifindex: link.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind a packet socket to %s: %w", link.Name, err)
	}
	return &socket{file: os.NewFile(uintptr(fd), "arp"), link: link}, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 } // little-endian machines

// send asks the link who has the address: without a sender it is a probe, with
// the address itself an announcement.
func (s *socket) send(sender netip.Addr) error {
	to := &unix.SockaddrLinklayer{Protocol: htons(etherARP), Ifindex: s.link.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	m := arp{op: opRequest, senderMAC: [6]byte(s.link.HardwareAddr), senderIP: sender, target: s.addr}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	if err := raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), m.bytes(), 0, to)
		return !errors.Is(sendErr, unix.EAGAIN)
	}); err != nil {
		return err
	}
	if sendErr != nil {
		return fmt.Errorf("send ARP on %s: %w", s.link.Name, sendErr)
	}
	return nil
}

// watch listens for that time, 0 being for ever, and returns an error as soon
// as the address is taken.
func (s *socket) watch(ctx context.Context, limit time.Duration) error {
	deadline := time.Time{}
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	s.file.SetReadDeadline(deadline)
	buf := make([]byte, 128)
	for ctx.Err() == nil {
		n, err := s.file.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("receive ARP on %s: %w", s.link.Name, err)
		}
		if a, ok := parseARP(buf[:n]); ok && a.takes(s.addr, s.link.HardwareAddr) {
			return errTaken
		}
	}
	return ctx.Err()
}
