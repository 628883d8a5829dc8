package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const procIPv6 = "/proc/sys/net/ipv6/conf"

func acceptRAPath(link string) string { return filepath.Join(procIPv6, link, "accept_ra") }

// acceptRA writes the setting. A kernel without IPv6 has none, and no routers
// to listen to.
func acceptRA(link *netlink.LinkAttrs, value int) error {
	err := writeFile(acceptRAPath(link.Name), strconv.Itoa(value))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sysctl net.ipv6.conf.%s.accept_ra: %w", link.Name, err)
	}
	if value == 0 || link.RawFlags&unix.IFF_UP == 0 {
		return nil
	}
	// The kernel asks for routers when the link goes up, and did not if it would
	// not have listened then; the next advertisement can be half an hour away.
	// When this is refused the link's own address is not ready yet, and the
	// kernel asks by itself once it is.
	_ = solicitRouters(link)
	return nil
}

// solicitRouters sends one router solicitation (RFC 4861 §4.1). The kernel fills
// in the checksum.
func solicitRouters(link *netlink.LinkAttrs) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const hops = 255 // receivers drop it otherwise
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hops); err != nil {
		return err
	}
	const typeSolicitation, optionSource = 133, 1
	message := []byte{typeSolicitation, 0, 0, 0, 0, 0, 0, 0}
	if len(link.HardwareAddr) == 6 {
		message = append(append(message, optionSource, 1), link.HardwareAddr...)
	}
	to := &unix.SockaddrInet6{ZoneId: uint32(link.Index), Addr: [16]byte{0xff, 2, 15: 2}} // ff02::2, all routers
	return unix.Sendto(fd, message, 0, to)
}
