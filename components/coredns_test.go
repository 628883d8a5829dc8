package components

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestCoreDNS starts CoreDNS with the plugins of a cluster's Corefile, except
// kubernetes, which needs an API, and asks it for a name.
func TestCoreDNS(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(c Component) bool { return c.Name == "coredns" })
	dir := t.TempDir()
	argv, env := all[i].Command(dir)
	build := exec.Command(argv[0], argv[1:]...)
	build.Env = append(os.Environ(), env...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build coredns: %v\n%s", err, out)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := conn.LocalAddr().String()
	conn.Close()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	corefile := ".:" + port + ` {
    bind 127.0.0.1
    errors
    health 127.0.0.1:0
    ready 127.0.0.1:0
    hosts {
        192.0.2.7 probe.example
        fallthrough
    }
    rewrite name alias.example probe.example
    forward . 192.0.2.1
    cache 30
    loop
    reload
    loadbalance
}
`
	config := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(config, []byte(corefile), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "coredns"), "-conf", config)
	log := filepath.Join(dir, "log")
	if cmd.Stdout, err = os.Create(log); err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()

	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", addr)
	}}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got, err := resolver.LookupHost(t.Context(), "alias.example.")
		if err == nil && slices.Equal(got, []string{"192.0.2.7"}) {
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log)
			t.Fatalf("asked for alias.example: %q, %v\ncoredns said:\n%s", got, err, said)
		}
	}
}
