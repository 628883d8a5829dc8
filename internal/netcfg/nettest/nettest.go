// Package nettest wires up the tests of the network: a pair of links, and a
// real DHCP server or router at the far end of one. The test must be in a
// network namespace of its own (nstest.Net). It is tested by its users.
package nettest

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// Pair makes the veth pair eth0 and peer0, both down.
func Pair(t testing.TB) (link, peer netlink.Link) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer0"}); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	peer, err = netlink.LinkByName("peer0")
	if err != nil {
		t.Fatal(err)
	}
	return link, peer
}

// Up sets links up.
func Up(t testing.TB, links ...netlink.Link) {
	t.Helper()
	for _, l := range links {
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
}

// Next waits for the next report: the limit is for a hang, not a measure.
func Next[T any](t testing.TB, reports <-chan T) T {
	t.Helper()
	select {
	case r := <-reports:
		return r
	case <-time.After(60 * time.Second):
		t.Fatal("no report from the client")
		panic("unreachable")
	}
}

// Dnsmasq runs the server on peer, which moves to a network namespace of the
// server's own and gets the address. It ends with the test.
func Dnsmasq(t testing.TB, peer netlink.Link, address string, options ...string) {
	t.Helper()
	const script = `read go; link=$1; address=$2; shift 2
ip link set lo up; ip addr add $address dev $link; ip link set $link up
exec dnsmasq -k --port=0 --user=root --interface=$link --bind-interfaces --pid-file= "$@"`
	if strings.Contains(address, ":") {
		address += " nodad" // or it could not be used for a second
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "sh", peer.Attrs().Name, address}, options...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if err := netlink.LinkSetNsPid(peer, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
}
