package clocksync

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is the clock of this machine. Setting it needs CAP_SYS_TIME.
type Kernel struct {
	// RTC is the device of the battery-backed clock, /dev/rtc0, kept in UTC.
	RTC string
}

// Now is the time of the system clock.
func (Kernel) Now() time.Time { return time.Now() }

// Synchronised tells whether the clock was synchronised before this process
// started. The kernel forgets it at a boot, after the clock was set, and when
// no correction has come for nine hours.
func (Kernel) Synchronised() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}

// Step lets the clock jump. clock_settime also drops what is left of earlier
// corrections, which were meant for the clock as it was.
func (Kernel) Step(by time.Duration) error {
	ts, err := unix.TimeToTimespec(time.Now().Add(by))
	if err != nil {
		return fmt.Errorf("step the clock: %w", err)
	}
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("step the clock by %s: %w", signed(by), err)
	}
	return nil
}

// Slew hands an offset of less than half a second to the kernel's phase-locked
// loop, which also learns the frequency of the crystal from it, and marks the
// clock as synchronised. Poll is the exponent of the polls; the loop's time
// constant follows it (RFC 5905 §11.3; the kernel counts it from 16 s, so at
// 64 s it takes away a sixteenth of what is left each second).
func (Kernel) Slew(offset time.Duration, poll int, distance time.Duration) error {
	t := unix.Timex{
		Modes: unix.ADJ_OFFSET | unix.ADJ_STATUS | unix.ADJ_NANO | unix.ADJ_TIMECONST | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR,
		// Without STA_UNSYNC, which is what programs look at.
		Status: unix.STA_PLL,
	}
	t.Offset = offset.Nanoseconds()
	t.Constant = int64(poll - 4)
	// In microseconds; the kernel lets maxerror grow by 500 ppm until the next.
	t.Maxerror = (offset.Abs() + distance).Microseconds()
	t.Esterror = distance.Microseconds()
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("slew the clock by %s: %w", signed(offset), err)
	}
	return nil
}

// SaveRTC writes the system clock to the battery-backed one, right to a second
// (the kernel's own writes every 11 minutes, where it has them, are exact).
// A machine without one is no error.
func (k Kernel) SaveRTC() error {
	f, err := os.OpenFile(k.RTC, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("battery clock: %w", err)
	}
	defer f.Close()
	now := time.Now().UTC()
	rtc := unix.RTCTime{
		Sec: int32(now.Second()), Min: int32(now.Minute()), Hour: int32(now.Hour()),
		Mday: int32(now.Day()), Mon: int32(now.Month()) - 1, Year: int32(now.Year()) - 1900,
		Wday: int32(now.Weekday()), Yday: int32(now.YearDay()) - 1,
	}
	if err := unix.IoctlSetRTCTime(int(f.Fd()), &rtc); err != nil {
		return fmt.Errorf("battery clock %s: %w", k.RTC, err)
	}
	return nil
}
