package supervise

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

// status is a field of /proc/PID/status.
func status(t *testing.T, file, field string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("%s has no %s", file, field)
	return ""
}

// A service has only the rights it is to have, and we keep all of ours, on
// every thread, however many services are started.
func TestRights(t *testing.T) {
	nstest.Require(t, nstest.Mount) // root, in a process of its own
	h := newHost(t)
	self := "/proc/" + strconv.Itoa(os.Getpid()) + "/status"
	before := status(t, self, "CapBnd")
	own, err := strconv.ParseUint(before, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	taken := Without(unix.CAP_SYS_BOOT, unix.CAP_SYS_MODULE, unix.CAP_SYS_TIME)
	for range 20 {
		svc := Service{Name: "confined", Argv: []string{"/bin/sleep", "60"},
			Rights: Rights{Without: taken, NoNewPrivs: true}}
		p, err := h.Start(svc)
		if err != nil {
			t.Fatal(err)
		}
		file := "/proc/" + strconv.Itoa(p.Pid()) + "/status"
		for _, set := range []string{"CapBnd", "CapPrm", "CapEff"} {
			got, err := strconv.ParseUint(status(t, file, set), 16, 64)
			if err != nil || got != own&^taken {
				t.Fatalf("%s is %x, want %x (%v)", set, got, own&^taken, err)
			}
		}
		if status(t, file, "NoNewPrivs") != "1" {
			t.Fatal("it may gain rights")
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.Exited()
	}
	p, err := h.Start(Service{Name: "free", Argv: []string{"/bin/sleep", "60"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := status(t, "/proc/"+strconv.Itoa(p.Pid())+"/status", "CapBnd"); got != before {
		t.Errorf("a service without limits has %s, want %s", got, before)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	// A thread that was thrown away may be seen for a moment before its end.
	for i := 0; ; i++ {
		poor := poorThreads(t, before)
		if len(poor) == 0 {
			return
		}
		if i == 500 {
			t.Fatalf("threads %v have lost rights and live", poor)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// poorThreads are those of ours that have not all rights.
func poorThreads(t *testing.T, bounding string) (poor []string) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		b, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/status")
		if err == nil && (!strings.Contains(string(b), "CapBnd:\t"+bounding) || !strings.Contains(string(b), "NoNewPrivs:\t0")) {
			poor = append(poor, thread.Name())
		}
	}
	return poor
}

func TestRightsString(t *testing.T) {
	if got := (Rights{}).String(); got != "all" {
		t.Error(got)
	}
	if got := (Rights{Without: Without(unix.CAP_SYS_BOOT, unix.CAP_SYS_TIME), NoNewPrivs: true}).String(); got != "without 2 capabilities, no new ones" {
		t.Error(got)
	}
}
