package clocksync

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/nstest"
)

const rtcDevice = "/dev/rtc0"

// TestVMFromThePast: a machine that shows 1970, and then 2011, has the right
// time afterwards in both of its clocks. The test host gives the server's
// address and the time of the start on the kernel's command line.
func TestVMFromThePast(t *testing.T) {
	nstest.Require(t, nstest.VM)
	server := argument(t, "ntptest.server")
	unixTime, err := strconv.ParseInt(argument(t, "ntptest.time"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	started := time.Unix(unixTime, 0)
	connect(t)
	if year := readRTC(t).Year(); year != 1970 || time.Now().Year() != 1970 {
		t.Fatalf("the machine starts in %d and shows %s: this test is worth nothing", year, time.Now())
	}
	for _, year := range []int{1970, 2011} {
		if year != 1970 {
			setClock(t, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
			if err := (Kernel{rtcDevice}).SaveRTC(); err != nil {
				t.Fatal(err)
			}
		}
		if got := readRTC(t).Year(); got != year || (Kernel{}).Synchronised() {
			t.Errorf("before: RTC shows %d, not %d; synchronised %v", got, year, Kernel{}.Synchronised())
		}
		said := synchronise(t, server, started)
		if !strings.Contains(said.Message, server[:strings.LastIndex(server, ":")]) || !strings.Contains(said.Message, "stepped by +") {
			t.Errorf("%d: %+v", year, said)
		}
		now := time.Now()
		if now.Before(started) || now.After(started.Add(time.Hour)) {
			t.Errorf("%d: the clock shows %v, a VM that started at %v", year, now, started)
		}
		if d := readRTC(t).Sub(now); d.Abs() > 5*time.Second {
			t.Errorf("%d: the RTC is %v away from the clock", year, d)
		}
		if !(Kernel{}).Synchronised() {
			t.Errorf("%d: a container would not see that the clock is synchronised", year)
		}
	}
}

// synchronise runs until the first event that says so.
func synchronise(t *testing.T, server string, floor time.Time) event.Event {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(config, []byte(`{"ntp":{"servers":["`+server+`"]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	events := make(chanSink, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(ctx, Options{ConfigFile: config, LeaseFile: config + ".none", Floor: floor, Clock: Kernel{rtcDevice}, Sink: events,
			Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))})
	}()
	defer func() { cancel(); <-done }()
	for {
		select {
		case e := <-events:
			if e.State == "ok" {
				// The RTC is set right after it.
				cancel()
				<-done
				return e
			}
			t.Log(e)
		case <-ctx.Done():
			t.Fatal("never synchronised")
		}
	}
}

type chanSink chan event.Event

func (c chanSink) Emit(e event.Event) { c <- e }

// TestVMKernel: what the kernel is told arrives.
func TestVMKernel(t *testing.T) {
	nstest.Require(t, nstest.VM)
	k := Kernel{rtcDevice}
	if err := k.Slew(-100*time.Millisecond, 8, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var now unix.Timex
	if _, err := unix.Adjtimex(&now); err != nil {
		t.Fatal(err)
	}
	if now.Offset >= 0 || now.Offset < -100e6 || now.Constant != 4 || now.Maxerror < 120_000 || now.Esterror != 20_000 ||
		now.Status&(unix.STA_PLL|unix.STA_UNSYNC|unix.STA_NANO) != unix.STA_PLL|unix.STA_NANO || !k.Synchronised() {
		t.Errorf("%+v", now)
	}
	before, boot := time.Now(), bootTime(t)
	if err := k.Step(-time.Hour); err != nil {
		t.Fatal(err)
	}
	shown := time.Now().Round(0).Sub(before.Round(0)) - (bootTime(t) - boot)
	if (shown + time.Hour).Abs() > time.Second {
		t.Errorf("stepped by %v, not by an hour back", shown)
	}
	if k.Synchronised() {
		t.Error("synchronised by a step alone")
	}
	if err := k.Step(time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := k.Slew(0, minPoll, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	now = unix.Timex{}
	if _, err := unix.Adjtimex(&now); err != nil || now.Offset != 0 {
		t.Errorf("an offset of before the step is left: %d ns, %v", now.Offset, err)
	}
	if err := (Kernel{"/dev/rtc7"}).SaveRTC(); err != nil {
		t.Errorf("without an RTC: %v", err)
	}
	if err := (Kernel{"/dev/null"}).SaveRTC(); err == nil {
		t.Error("/dev/null took the time")
	}
}

func argument(t *testing.T, name string) string {
	t.Helper()
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(line)) {
		if value, ok := strings.CutPrefix(word, name+"="); ok {
			return value
		}
	}
	t.Fatalf("the kernel's command line has no %s", name)
	return ""
}

// connect gives the machine QEMU's user network.
func connect(t *testing.T) {
	t.Helper()
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	address, err := netlink.ParseAddr("10.0.2.15/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrReplace(link, address); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.AddrDel(link, address); err != nil {
			t.Error(err)
		}
		if err := netlink.LinkSetDown(link); err != nil {
			t.Error(err)
		}
	})
}

func readRTC(t *testing.T) time.Time {
	t.Helper()
	f, err := os.Open(rtcDevice)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := unix.IoctlGetRTCTime(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return time.Date(int(r.Year)+1900, time.Month(r.Mon+1), int(r.Mday), int(r.Hour), int(r.Min), int(r.Sec), 0, time.UTC)
}

func setClock(t *testing.T, at time.Time) {
	t.Helper()
	ts := unix.NsecToTimespec(at.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		t.Fatal(err)
	}
}

func bootTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
