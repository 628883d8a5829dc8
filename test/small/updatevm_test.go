package small

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/vmtest"
	"kubesolo.io/os/test/small/guest"
)

// updateVM is a machine whose slots have updateinit.
type updateVM struct {
	accel  string
	disk   string
	log    string // where QEMU logs what the disk is told, "" for nowhere
	medium string
	// look: only what takes no download and no other boot.
	look bool
	// power is how long there is power, 0 for as long as it is wanted.
	power time.Duration
}

// bootTold is what the node said in one boot.
type bootTold struct {
	loaded  string // by GRUB: "A", "B on trial"
	started *guest.Started
	found   *guest.Found
	ended   *guest.Ended
	dying   []string // the kernel's lines of a panic or an oops
}

// told is what it said in all of them.
type told struct {
	boots  []bootTold
	errors []string
	cut    bool   // it ended because there was no more power
	reason string // QEMU's for the end, when it was not that
	text   string
}

// cameUp says whether a slot has said anything.
func (t told) cameUp() bool {
	return slices.ContainsFunc(t.boots, func(b bootTold) bool { return b.started != nil })
}

// updateLimit is for all boots of one machine: an update and its way back are six, of
// a quarter of a minute each. One that restarts without end is found by it, before the
// test's own time is over.
const updateLimit = 20 * time.Minute

// run starts the machine and waits until it powers off. One that does not is an
// error.
func (m updateVM) run(ctx context.Context) (told, error) {
	serial := "medium"
	if m.look {
		serial = "look"
	}
	memory := 256 // MiB
	if *updateUEFI {
		memory = 512 // with less GRUB says "out of memory" for both slots
	}
	c := vmtest.Config{Name: "update", Accel: m.accel, Memory: memory, CPUs: 1, UEFI: *updateUEFI, Reboots: !m.look}
	c.Extra = []string{"-blockdev", "driver=file,node-name=diskfile,filename=" + m.disk}
	if m.log == "" {
		c.Extra = append(c.Extra, "-blockdev", "driver=raw,node-name=disk,file=diskfile")
	} else {
		c.Extra = append(c.Extra, "-blockdev", "driver=file,node-name=logfile,filename="+m.log,
			"-blockdev", "driver=blklogwrites,node-name=disk,file=diskfile,log=logfile,log-sector-size=512,log-super-update-interval=1")
	}
	c.Extra = append(c.Extra, "-device", "virtio-blk-pci,drive=disk,bootindex=0",
		"-blockdev", "driver=file,node-name=medium,read-only=on,filename="+m.medium,
		"-device", "virtio-blk-pci,drive=medium,serial="+serial)
	vm, err := vmtest.Start(ctx, c, nil)
	if err != nil {
		return told{}, err
	}
	limit, failure := updateLimit, errors.New("it does not come to an end")
	if m.power > 0 {
		limit, failure = m.power, nil
	}
	cut := false
	select {
	case <-vm.Died():
		failure = nil
	case <-time.After(limit):
		vm.PowerCut()
		cut = true
	}
	exit, err := vm.Wait(ctx)
	out := tellOf(vm.Transcript())
	if out.cut = cut; !cut {
		out.reason = exit.Reason
		failure = errors.Join(err, exit.Err)
	}
	return out, failure
}

// fatal is what the kernel says of its end, or of a fault of its own that it
// survived. A processor that got no time is no fault.
var fatal = regexp.MustCompile(`Kernel panic|kernel BUG at|BUG: unable|Oops: `)

// tellOf reads what a console has. A boot begins when GRUB loads a slot.
func tellOf(text string) told {
	t := told{text: text}
	last := func() *bootTold {
		if len(t.boots) == 0 {
			t.boots = append(t.boots, bootTold{})
		}
		return &t.boots[len(t.boots)-1]
	}
	for line := range strings.Lines(text) {
		if _, slot, ok := strings.Cut(line, "Loading KubeSolo OS from slot "); ok {
			if slot, _, ok := strings.Cut(slot, " ..."); ok { // not cut off
				t.boots = append(t.boots, bootTold{loaded: slot})
			}
		}
		again := false
		if s, ok := guest.Said[guest.Started](line); ok {
			again, last().started = last().started != nil, &s
		}
		if s, ok := guest.Said[guest.Found](line); ok {
			again, last().found = last().found != nil, &s
		}
		if s, ok := guest.Said[guest.Ended](line); ok {
			again, last().ended = last().ended != nil, &s
		}
		if fatal.MatchString(line) && strings.HasSuffix(line, "\n") { // not cut off
			last().dying = append(last().dying, strings.TrimSpace(line))
		}
		if s, ok := guest.SaidError(line); ok {
			t.errors = append(t.errors, strings.TrimSpace(s))
		}
		if again {
			t.errors = append(t.errors, "said twice in one boot: "+strings.TrimSpace(line))
		}
	}
	return t
}

// tail is the end of the console.
func (t told) tail() string {
	lines := strings.Split(strings.TrimSpace(t.text), "\n")
	return fmt.Sprint("the console's last lines:\n  ", strings.Join(lines[max(0, len(lines)-20):], "\n  "))
}

func TestTellOf(t *testing.T) {
	text := "\rLoading KubeSolo OS from slot A ...\r\n" +
		`update: guest.Started {"slot":"A","trial":false,"version":"1","holds":"1"} <nil>` + "\r\n" +
		"[    1.0] a kernel's line\r\n" +
		`update: guest.Found {"state":"slot A","outcome":"normal"} <nil>` + "\r\n" +
		"\rLoading KubeSolo OS from slot B on trial ...\r\n" +
		"[    2.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n" +
		"\rLoading KubeSolo OS from slot B on trial ...\r\n" +
		`update: guest.Started {"slot":"B","trial":true,"version":"2","holds":"2"} <nil>` + "\r\nupdate: error no disk\r\n" +
		`update: guest.Ended {"settled":true,"phase":"good"` // cut
	got := tellOf(text)
	if len(got.boots) != 3 || got.boots[0].loaded != "A" || got.boots[0].found == nil || got.boots[0].ended != nil || got.boots[1].started != nil ||
		len(got.boots[1].dying) != 1 || got.boots[2].loaded != "B on trial" || got.boots[2].started.Slot != "B" || got.boots[2].ended != nil ||
		!slices.Equal(got.errors, []string{"no disk"}) {
		t.Errorf("%+v", got)
	}
	if got := tellOf(text[:strings.Index(text, " ...")]); got.cameUp() || len(got.boots) != 0 {
		t.Errorf("of a line that was cut off: %+v", got)
	}
	if got := tellOf(strings.Repeat(`update: guest.Found {"state":"slot A"} <nil>`+"\r\n", 2)); len(got.errors) != 1 {
		t.Errorf("found twice: %+v", got)
	}
}
