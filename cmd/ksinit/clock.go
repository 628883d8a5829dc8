package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/atomicfile"
)

// ntpFile hands the time servers of the DHCP lease to ksagent.
const ntpFile = "/run/ksinit/ntp.json"

// Steps of the clock that make kubesolo start again.
const (
	// longStep: it signs its certificates at its start, for a year, and renews
	// those that end within 90 days. A machine without a battery whose image is
	// older than a year would else be left with certificates that ended long ago.
	longStep = 30 * 24 * time.Hour
	// backStep: its controllers believe a node's lease only when it is renewed
	// at a later time than before, and call the node lost after 50 s. An hour
	// back would be an hour of a node that is Ready on and off.
	backStep = -30 * time.Second
)

// clockWatch notices that somebody set the clock.
type clockWatch struct {
	fd   int
	file *os.File
	last time.Duration // of wallOverBoot
}

func openClockWatch() (*clockWatch, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch the clock: %w", err)
	}
	return &clockWatch{fd: fd, file: os.NewFile(uintptr(fd), "timerfd"), last: wallOverBoot()}, nil
}

// wait returns after the limit, or at once when the clock is set, with how far
// it was set since the call before.
func (w *clockWatch) wait(limit time.Duration) (time.Duration, error) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().Add(limit).UnixNano())}
	err := unix.TimerfdSettime(w.fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil)
	if err != nil && !errors.Is(err, unix.ECANCELED) { // armed, and the clock was set before
		return 0, fmt.Errorf("watch the clock: %w", err)
	}
	// Set before the timer was armed: nothing would end the wait.
	if by := wallOverBoot() - w.last; by.Abs() < time.Second {
		var expirations [8]byte
		// ECANCELED says that the clock was set; any other end is as good
		// a time to look.
		_, _ = w.file.Read(expirations[:])
	}
	now := wallOverBoot()
	by := now - w.last
	w.last = now
	return by, nil
}

// wallOverBoot is what the wall clock shows more than the boot clock: it
// changes only when the wall clock is set or slewed.
func wallOverBoot() time.Duration {
	var boot unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) // cannot fail since Linux 2.6.39
	return time.Duration(time.Now().UnixNano() - boot.Nano())
}

// rememberTime writes the time down every hour, often enough for a floor and
// seldom enough for a memory card, and at once when the clock was set: the
// first time a machine without a battery hears of must outlive a power cut
// some minutes later.
func (n *node) rememberTime() {
	watch, err := openClockWatch()
	for {
		n.saveTime()
		var by time.Duration
		if err == nil {
			by, err = watch.wait(time.Hour)
		}
		if err != nil {
			n.log.Debug("clock", "err", err)
			time.Sleep(time.Hour)
		}
		if by > longStep || by < backStep {
			n.restartKubeSolo(by)
		}
	}
}

// restartKubeSolo ends kubesolo, which its supervisor starts again. Pods stay.
func (n *node) restartKubeSolo(by time.Duration) {
	s := n.running()
	if s == nil {
		return // not started yet: it will see the right time
	}
	for _, st := range s.Status() {
		if st.Name == "kubesolo" && st.Pid > 0 {
			n.log.Warn("the clock was set: kubesolo starts again", "by", by.Round(time.Second))
			if err := unix.Kill(st.Pid, unix.SIGTERM); err != nil {
				n.log.Error("kubesolo not started again", "err", err)
			}
		}
	}
}

// leaseServers keeps file up to date with the time servers of the leases.
func leaseServers(file string) func([]netip.Addr) error {
	written := ""
	return func(servers []netip.Addr) error {
		b, err := json.Marshal(struct {
			Servers []netip.Addr `json:"servers"`
		}{servers})
		if err != nil || string(b) == written {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := atomicfile.Write(file, b, 0o644); err != nil {
			return err
		}
		written = string(b)
		return nil
	}
}
