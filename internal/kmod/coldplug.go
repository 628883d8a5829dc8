package kmod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/uevent"
)

// Hardware is the devices of a machine: those that were there when it was
// scanned, and those that came since. It is not safe for concurrent use.
type Hardware struct {
	sysfs   string
	events  *uevent.Listener
	aliases []string        // to load for, in order
	seen    map[string]bool // aliases that were in the list once
}

// Scan listens for devices, and then reads the modalias of all that are there;
// in that order no device is missed. It needs no Tree, so it can run while one
// is read. Errors: SYSFS is not mounted; a kernel without device events.
func Scan(sysfs string) (*Hardware, error) {
	events, err := uevent.Listen()
	if err != nil {
		return nil, fmt.Errorf("coldplug: %w", err)
	}
	h := &Hardware{sysfs: sysfs, events: events, seen: map[string]bool{}}
	if err := h.walk(); err != nil {
		return nil, errors.Join(fmt.Errorf("coldplug: %w", err), events.Close())
	}
	return h, nil
}

// Close ends the listening.
func (h *Hardware) Close() error { return h.events.Close() }

// drivers at work at once for disks. Their order does not matter, since disks
// are found by their content; they mostly wait for hardware.
const diskLoads = 4

// poll is how often new devices are looked for while modules are loading.
const poll = 5 * time.Millisecond

// Coldplug loads a module for every device that names one and returns what it
// loaded, once nothing is left to load: what new modules bring (a bus, then its
// disks) is loaded for too. Devices without a module and drivers without a
// device are no errors; modules the kernel refuses are joined in err, and the
// others are loaded all the same. disksReady is called when no driver of a disk
// is left to load, at the latest at the end. Disks behind a USB port come later.
//
// Drivers of disks wait for their hardware (0.4 s for the empty ports of an
// emulated AHCI controller), so they go beside the others. The others keep
// their order: two network drivers name eth0 and eth1 the same at every boot.
func (h *Hardware) Coldplug(t *Tree, disksReady func()) (loaded []string, err error) {
	p := plug{tree: t, results: make(chan loadResult)}
	ready := false
	for {
		p.add(h.aliases)
		h.aliases = nil
		p.start()
		if !ready && p.disksRunning == 0 {
			ready = true
			disksReady()
		}
		if p.disksRunning == 0 && !p.otherRunning {
			return p.loaded, errors.Join(p.errs...)
		}
		select {
		case r := <-p.results:
			p.take(r)
		case <-time.After(poll):
		}
		// A device is announced before the load that brings it ends, so
		// nothing is missed when the last load has ended.
		if err := h.pending(); err != nil {
			p.errs = append(p.errs, fmt.Errorf("coldplug: %w", err))
		}
	}
}

// plug is one Coldplug: what waits, what is being loaded, what came of it.
type plug struct {
	tree          *Tree
	disks, others []string
	disksRunning  int
	otherRunning  bool
	results       chan loadResult
	loaded        []string
	errs          []error
}

type loadResult struct {
	disk   bool
	loaded []string
	err    error
}

func (p *plug) add(aliases []string) {
	for _, a := range aliases {
		if leadsToDisk(a) {
			p.disks = append(p.disks, a)
		} else {
			p.others = append(p.others, a)
		}
	}
}

// start starts what may run now.
func (p *plug) start() {
	for len(p.disks) > 0 && p.disksRunning < diskLoads {
		go p.load(p.disks[0], true)
		p.disks = p.disks[1:]
		p.disksRunning++
	}
	if len(p.others) > 0 && !p.otherRunning {
		go p.load(p.others[0], false)
		p.others = p.others[1:]
		p.otherRunning = true
	}
}

// load turns a panic into an error: it runs in a goroutine of PID 1.
func (p *plug) load(alias string, disk bool) {
	r := loadResult{disk: disk}
	defer func() {
		if v := recover(); v != nil {
			r.err = fmt.Errorf("coldplug: internal error: %v", v)
		}
		p.results <- r
	}()
	r.loaded, r.err = p.tree.loadAlias(alias)
}

func (p *plug) take(r loadResult) {
	if r.disk {
		p.disksRunning--
	} else {
		p.otherRunning = false
	}
	p.loaded = append(p.loaded, r.loaded...)
	if r.err != nil {
		p.errs = append(p.errs, r.err)
	}
}

// pending takes the devices that were announced since the last look.
func (h *Hardware) pending() error {
	for {
		e, ok, err := h.events.Pending()
		switch {
		case errors.Is(err, uevent.ErrLost):
			if err := h.walk(); err != nil {
				return err
			}
		case err != nil:
			return err
		case !ok:
			return nil
		default:
			if alias := aliasOf(e); alias != "" {
				h.note(alias)
			}
		}
	}
}

func aliasOf(e uevent.Event) string {
	if e.Action != "add" && e.Action != "change" {
		return ""
	}
	return e.Env["MODALIAS"]
}

// note puts an alias into the list, the first time it is seen.
func (h *Hardware) note(alias string) {
	if !h.seen[alias] {
		h.seen[alias] = true
		h.aliases = append(h.aliases, alias)
	}
}

// leadsToDisk tells the modalias of a disk or of the controller of one, by PCI
// class (mass storage, SD host, USB host), virtio type (block, SCSI) or bus.
func leadsToDisk(alias string) bool {
	for _, prefix := range []string{"scsi:", "ata:", "nvme:", "mmc:", "sd:", "virtio:d00000002v", "virtio:d00000008v"} {
		if strings.HasPrefix(alias, prefix) {
			return true
		}
	}
	return strings.HasPrefix(alias, "pci:") &&
		(strings.Contains(alias, "bc01") || strings.Contains(alias, "bc08sc05") || strings.Contains(alias, "bc0Csc03"))
}

// loadAlias loads for hardware: no module and no hardware are fine.
func (t *Tree) loadAlias(modalias string) ([]string, error) {
	loaded, err := t.load(modalias, "")
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoHardware) {
		return loaded, nil
	}
	return loaded, err
}

// walk notes the modalias of all devices on a bus, of the class devices that
// have one, and of the processor. To walk all of SYSFS/devices instead takes ten
// times as long.
func (h *Hardware) walk() error {
	buses, err := os.ReadDir(filepath.Join(h.sysfs, "bus"))
	if err != nil {
		return err
	}
	for _, b := range buses {
		h.walkDir(filepath.Join(h.sysfs, "bus", b.Name(), "devices"))
	}
	for _, dir := range []string{"class/dmi", "class/input", "devices/system"} {
		h.walkDir(filepath.Join(h.sysfs, dir))
	}
	return nil
}

// walkDir reads the modalias of each device in dir; what is not there, or goes
// away meanwhile, has none. It makes plain system calls: with os.ReadFile, which
// asks the poller about each file, this took three times as long.
func (h *Hardware) walkDir(dir string) {
	devices, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var buf [1024]byte // the longest seen, of an input device, has 400
	for _, d := range devices {
		fd, err := unix.Open(dir+"/"+d.Name()+"/modalias", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		n, err := unix.Read(fd, buf[:])
		_ = unix.Close(fd) // opened to read
		if err == nil && n > 0 {
			if a := strings.TrimSpace(string(buf[:n])); a != "" {
				h.note(a)
			}
		}
	}
}
