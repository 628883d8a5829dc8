package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// echoSector is a boot sector in real mode: it prints "R\n" on the first serial
// port, echoes what it reads there, and powers off on "q".
func echoSector() []byte {
	code := []byte{
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xb0, 'R', 0xee, // mov al, 'R'; out dx, al
		0xb0, '\n', 0xee, // mov al, '\n'; out dx, al
		0xba, 0xfd, 0x03, // start: mov dx, 0x3fd (line status)
		0xec, 0xa8, 0x01, // wait: in al, dx; test al, 1
		0x74, 0xfb, // jz wait
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xec, 0x3c, 'q', // in al, dx; cmp al, 'q'
		0x74, 0x03, // je off
		0xee, 0xeb, 0xed, // out dx, al; jmp start
		0xba, 0x04, 0x06, // off: mov dx, 0x604 (q35 PM1a control)
		0xb8, 0x00, 0x20, // mov ax, 0x2000 (S5, sleep enable)
		0xef, 0xf4, 0xeb, 0xfd, // out dx, ax; hlt; jmp $-1
	}
	sector := make([]byte, 512)
	copy(sector, code)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

func echoVM(t *testing.T, c Config) *VM {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "echo,1.img") // the comma must be quoted
	if err := os.WriteFile(disk, append(echoSector(), make([]byte, 1<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Disks = []Disk{{Path: disk, Snapshot: true, Serial: "echo"}}
	c.Memory, c.CPUs, c.Accel = 64, 1, "tcg"
	v := Run(t, c)
	if _, err := v.Expect("R", time.Minute); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestConsoleAndPowerOff(t *testing.T) {
	v := echoVM(t, Config{})
	if err := v.Type("hello 42\n"); err != nil {
		t.Fatal(err)
	}
	m, err := v.Expect(`hello (\d+)\n`, time.Minute)
	if err != nil || m[1] != "42" {
		t.Fatalf("got %q, %v", m, err)
	}
	if err := v.Type("q"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	exit, err := v.Wait(ctx)
	if err != nil || exit.Reason != "guest-shutdown" || exit.Err != nil {
		t.Fatalf("exit %+v, %v", exit, err)
	}
	if _, err := v.Expect("never", time.Minute); !errors.Is(err, ErrExited) {
		t.Errorf("expect after the end: %v", err)
	}
	if _, err := v.Kubeconfig(ctx); !errors.Is(err, ErrExited) {
		t.Errorf("kubeconfig after the end: %v", err)
	}
}

func TestPanicFailsAtOnce(t *testing.T) {
	v := echoVM(t, Config{})
	if err := v.Type("[ 1.0] Kernel panic - not syncing: test\n"); err != nil {
		t.Fatal(err)
	}
	_, err := v.Expect("never", time.Hour)
	if !errors.Is(err, ErrGuestDied) || !strings.Contains(err.Error(), "not syncing: test") {
		t.Fatalf("got %v", err)
	}
}

func TestPowerCut(t *testing.T) {
	v := echoVM(t, Config{})
	v.PowerCut()
	exit, err := v.Wait(t.Context())
	if err != nil || exit.Reason != "killed" {
		t.Fatalf("exit %+v, %v", exit, err)
	}
}

func TestQMP(t *testing.T) {
	v := echoVM(t, Config{NIC: &NIC{Forward: []int{6443, 22}, Restrict: true}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, errA := v.Forwarded(ctx, 6443)
	b, errB := v.Forwarded(ctx, 22)
	if errA != nil || errB != nil || a == 0 || b == 0 || a == b {
		t.Errorf("forwarded: %d %v, %d %v", a, errA, b, errB)
	}
	if _, err := v.Forwarded(ctx, 80); err == nil {
		t.Error("port 80 is said to be forwarded")
	}
	for name, do := range map[string]func(context.Context) error{
		"ctrl-alt-delete": v.CtrlAltDelete, "power button": v.PowerButton,
		"cable": func(ctx context.Context) error { return v.SetLink(ctx, false) },
	} {
		if err := do(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := v.Unplug(ctx, "no-such-device"); err == nil || !strings.Contains(err.Error(), "no-such-device") {
		t.Errorf("unplug: %v", err)
	}
	if err := v.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if exit, err := v.Wait(ctx); err != nil || exit.Reason != "host-qmp-system-reset" {
		t.Errorf("exit %+v, %v", exit, err)
	}
}

// What a machine says just before its end is all there after it: "done" of a
// shutdown was missing now and then.
func TestPortsToTheLastByte(t *testing.T) {
	const size = 32 << 20 // more than the socket holds
	v := &VM{console: newConsole(nil), ports: map[string]*Port{}, done: make(chan struct{})}
	v.cmd = exec.Command("sh", "-c", fmt.Sprintf(`read line <&3; echo '{"return": {}}' >&3; head -c %d /dev/zero >&4`, size))
	if err := v.start([]string{"port"}); err != nil {
		t.Fatal(err)
	}
	<-v.Died()
	if text, _, _ := v.ports["port"].from(0); len(text) != size {
		t.Errorf("%d bytes, want %d", len(text), size)
	}
}

func TestStartErrorNamesTheCause(t *testing.T) {
	_, err := Start(t.Context(), Config{Name: "x", Accel: "tcg", Kernel: "/nonexistent/vmlinuz"}, nil)
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/vmlinuz") {
		t.Fatalf("got %v", err)
	}
}

func TestLastDocument(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"a: 1\n", ""}, {"a: 1\n\n", "a: 1\n"},
		{"a: 1\nb: 2\n\na: 3\n", "a: 1\nb: 2\n"}, {"a: 1\n\na: 3\n\n", "a: 3\n"}, {"\n\n", ""},
	} {
		if got := string(lastDocument([]byte(c.in))); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestEvents(t *testing.T) {
	p := &Port{stream: newStream()}
	v := &VM{console: newConsole(nil), ports: map[string]*Port{EventsPort: p}}
	_, _ = p.Write([]byte("{\"time\":1,\"type\":\"step\",\"name\":\"a\"}\nnot json\n{\"time\":2,\"ty"))
	events := v.Events(t.Context())
	if e := <-events; e.Name != "a" {
		t.Errorf("got %+v", e)
	}
	_, _ = p.Write([]byte("pe\":\"ready\"}\n"))
	if e := <-events; e.Type != "ready" || e.Time != 2 {
		t.Errorf("got %+v", e)
	}
	p.end(ErrExited)
	if e, ok := <-events; ok {
		t.Errorf("got %+v after the end", e)
	}
}

func TestRewriteServer(t *testing.T) {
	in := "clusters:\n- cluster:\n    server: https://10.0.2.15:6443\n  name: a\n"
	got, err := rewriteServer([]byte(in), 40001)
	if err != nil || string(got) != strings.Replace(in, "10.0.2.15:6443", "127.0.0.1:40001", 1) {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := rewriteServer([]byte("{}"), 1); err == nil {
		t.Error("no error without a server line")
	}
}
