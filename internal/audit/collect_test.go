package audit

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

// TestCollect looks at the kernel the test runs on, as PID 1 of namespaces of
// its own: it finds itself with its sockets, and no others.
func TestCollect(t *testing.T) {
	nstest.Require(t, nstest.PID|nstest.Net)
	listen := func(network, address string) {
		var err error
		if network == "udp4" {
			var c net.PacketConn
			if c, err = net.ListenPacket(network, address); err == nil {
				t.Cleanup(func() { _ = c.Close() })
			}
		} else {
			var l net.Listener
			if l, err = net.Listen(network, address); err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	listen("tcp4", "0.0.0.0:6443")
	listen("udp4", "0.0.0.0:68")
	self, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimSpace(string(self))

	s := Collector{}.Collect()
	want := []Socket{{Protocol: "tcp", Address: netip.MustParseAddrPort("0.0.0.0:6443"), Owner: name},
		{Protocol: "udp", Address: netip.MustParseAddrPort("0.0.0.0:68"), Owner: name}}
	for i := range s.Sockets {
		if s.Sockets[i].Inode == 0 {
			t.Errorf("%v has no inode", s.Sockets[i])
		}
		s.Sockets[i].Inode = 0
	}
	if !slices.Equal(s.Sockets, want) {
		t.Errorf("sockets %+v, want %+v", s.Sockets, want)
	}
	if len(s.Mounts) == 0 || s.Texts["/proc/sys/kernel/randomize_va_space"] == "" || s.Texts[cmdlineFile] == "" {
		t.Errorf("%d mounts, texts %v, errors %v", len(s.Mounts), s.Texts, s.Errors)
	}
	// Nothing here is a node, and an audit must not think so.
	if failed := Evaluate(s).Failed(); len(failed) < 10 {
		t.Errorf("only %d checks fail: %+v", len(failed), failed)
	}
}

func TestCollectFiles(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{
		"var/lib/kubesolo/pki/ca/ca.key": 0o600, "var/lib/kubesolo/pki/ca/ca.crt": 0o644,
		"var/lib/kubesolo/kine/state.db": 0o640, "etc/kubesolo/cloud-init.yaml": 0o644,
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	got := Collector{Root: root}.Collect().Files
	want := []File{
		{"/var/lib/kubesolo", 0o700, uid, gid}, {"/var/lib/kubesolo/pki/ca/ca.key", 0o600, uid, gid},
		{"/var/lib/kubesolo/kine/state.db", 0o640, uid, gid}, {"/etc/kubesolo", 0o700, uid, gid},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestParseStatus(t *testing.T) {
	p, err := parseStatus("Name:\tkubesolo\nUmask:\t0022\nCapBnd:\t000001ffffbeffff\nNoNewPrivs:\t1\nSeccomp:\t0\nSeccomp_filters:\t0\n")
	if err != nil || p.Name != "kubesolo" || p.Bounding&(1<<unix.CAP_SYS_BOOT) != 0 || p.Bounding&(1<<unix.CAP_SYS_ADMIN) == 0 || !p.NoNewPrivs || p.Seccomp != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "Name:\tx\n", "CapBnd:\t0\n", "Name:\tx\nCapBnd:\txyz\n", "Name:\tx\nCapBnd:\t0\nSeccomp:\t\n"} {
		if p, err := parseStatus(bad); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
	if got := parseGroup("12:cpu:/old\n0::/kubepods/burstable/pod1/abc\n"); got != "/kubepods/burstable/pod1/abc" {
		t.Error(got)
	}
}

const tcpText = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
	"   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000 100 0 0 10 0\n" +
	"   1: 0100007F:192B 0100007F:1000 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000000000000000 100 0 0 10 0\n"

const tcp6Text = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
	"   0: 0000000000000000FFFF00000100007F:280A 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0\n" +
	"   1: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 78 1 0 100 0 0 10 0\n"

func TestParseSockets(t *testing.T) {
	got, err := parseSockets("tcp", tcpText)
	if err != nil || len(got) != 1 || got[0].Address.String() != "127.0.0.1:6443" || got[0].Inode != 4242 {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = parseSockets("tcp", tcp6Text)
	if err != nil || len(got) != 2 || !got[0].Address.Addr().Unmap().IsLoopback() || got[1].Address.String() != "[2001:db8::1]:80" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"h\nx\n", "h\n0: 01:1 0:0 0A 0 0 0 0 0 1\n", strings.Replace(tcpText, "4242", "-", 1), strings.Replace(tcpText, "0100007F:192B 0000", "0100007G:192B 0000", 1)} {
		if got, err := parseSockets("tcp", bad); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func FuzzParseSockets(f *testing.F) {
	f.Add(tcpText)
	f.Add(tcp6Text)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseSockets("tcp", text)
		if len(got) > strings.Count(text, "\n")+1 {
			t.Errorf("%d sockets of %q (%v)", len(got), text, err)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add("Name:\tx\nCapBnd:\tff\nNoNewPrivs:\t1\nSeccomp:\t2\n")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseStatus(text); err == nil && p.Name == "" {
			t.Errorf("a process without a name of %q", text)
		}
	})
}
