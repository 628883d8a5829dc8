package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/bootlog"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/kmod"
	"kubesolo.io/os/internal/mount"
)

const (
	bootLogDir   = dataDir + "/log"
	bootMark     = stateDir + "/boot-mark"
	lastBootFile = "/run/ksinit/last-boot.json"
	pstoreDir    = "/sys/fs/pstore"
	// markEvery bounds by how much the time a power cut came is unknown: one
	// sector in ten minutes is half a million writes in ten years.
	markEvery = 10 * time.Minute
)

// tellLastBoot says how the boot before ended, keeps what is left of it, and
// begins the log of this one.
func (n *node) tellLastBoot(ctx context.Context) error {
	dump, dumpErr := n.collectDumps()
	if !n.kept {
		boot.Note(ctx, "not known: nothing is kept from one boot to the next")
		return boot.Degraded(dumpErr)
	}
	errs := []error{dumpErr, os.MkdirAll(bootLogDir, 0o755), bootlog.Rotate(bootLogDir)}
	mark, markErr := bootlog.ReadMark(bootMark)
	last := bootlog.Judge(bootlog.Evidence{
		Mark: mark, MarkErr: markErr, LastLine: bootlog.LastLine(bootLogDir), Watchdog: n.watchdogFired, Dump: dump,
	})
	last.Logs = bootlog.Previous(bootLogDir)
	// An orderly end is that of a boot of this slot: those after it never came as
	// far as the data partition.
	n.lastBoot = "none of them reached the data partition"
	if last.Fault() || last.Reason == bootlog.PowerCut {
		n.lastBoot = "the last ended by " + last.String()
	}
	if text, err := json.MarshalIndent(last, "", "  "); err == nil {
		errs = append(errs, atomicfile.Write(lastBootFile, append(text, '\n'), 0o644))
	}
	n.mu.Lock()
	n.mark = &bootlog.Mark{Boot: mark.Boot + 1, Began: time.Now().Unix() - int64(event.Now())}
	n.mu.Unlock()
	errs = append(errs, n.writeMark(""))
	n.background("boot mark", func() {
		for {
			time.Sleep(markEvery)
			if err := n.writeMark(""); err != nil {
				n.log.Debug("boot mark", "err", err)
			}
		}
	})
	errs = append(errs, n.startBootLog())
	if last.Fault() {
		return boot.Degraded(errors.Join(append([]error{errors.New(last.String())}, errs...)...))
	}
	boot.Note(ctx, "%s", last)
	return boot.Degraded(errors.Join(errs...))
}

// startBootLog records the kernel's log, and so ksinit's own, in a file.
func (n *node) startBootLog() error {
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a container, whose kernel is another's
	}
	if err != nil {
		return err
	}
	recorder, err := bootlog.Start(bootLogDir, kmsg)
	if err != nil {
		return errors.Join(err, kmsg.Close())
	}
	n.mu.Lock()
	n.bootLog = recorder
	n.mu.Unlock()
	return nil
}

// collectDumps saves what the kernel left in memory when it died: efi-pstore
// where there is UEFI, ramoops where its arguments say where.
func (n *node) collectDumps() (bootlog.Dump, error) {
	var errs []error
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		// A kernel may lack it, and firmware may offer no variables.
		if err := n.loadModules("efi_pstore"); err != nil && !errors.Is(err, kmod.ErrNotFound) && !errors.Is(err, kmod.ErrNoHardware) {
			errs = append(errs, err)
		}
	}
	if strings.Contains(n.args.Raw, "ramoops.") {
		errs = append(errs, n.loadModules("ramoops"))
	}
	if _, err := os.Stat(pstoreDir); err != nil {
		return bootlog.Dump{}, errors.Join(errs...)
	}
	if _, err := mount.At(pstoreDir); err != nil {
		errs = append(errs, pstoreMount().Apply())
	}
	if !n.kept {
		return bootlog.Dump{}, errors.Join(errs...) // they stay where they are
	}
	dump, err := bootlog.Collect(pstoreDir, bootLogDir, time.Now())
	return dump, errors.Join(append(errs, err)...)
}

// writeMark renews the mark of this boot. Nothing is written before the mark of
// the last one was read.
func (n *node) writeMark(end string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mark == nil || n.mark.End != "" {
		return nil
	}
	n.mark.Up, n.mark.End = event.Now(), end
	return n.mark.Write(bootMark)
}

// closeBootLog is the last that is written to the data partition.
func (n *node) closeBootLog(a action) error {
	n.mu.Lock()
	recorder := n.bootLog
	n.mu.Unlock()
	var err error
	if recorder != nil {
		err = recorder.Stop()
	}
	return errors.Join(err, n.writeMark(a.String()))
}

func pstoreMount() mount.Entry {
	return mount.Entry{Source: "pstore", Target: pstoreDir, Type: "pstore", Flags: quiet, Optional: true}
}
