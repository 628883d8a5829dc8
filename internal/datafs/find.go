package datafs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"kubesolo.io/os/internal/blockdev"
)

// settle is how long auto waits for a labelled disk when a blank one is there.
const settle = time.Second

// find waits for the device of Spec; the wait is over Wait after all drivers are
// loaded. With auto it falls back to the one blank
// disk of the machine.
func (p *preparer) find(ctx context.Context) (blockdev.Device, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	auto := p.Spec == "auto"
	mayTakeBlank := make(chan struct{})
	go func() {
		defer cancel()
		if !ended(ctx, p.Drivers) {
			return
		}
		early := min(settle, p.Wait)
		if ended(ctx, time.After(early)) {
			close(mayTakeBlank)
			ended(ctx, time.After(p.Wait-early))
		}
	}()
	enough := func(devs []blockdev.Device) bool {
		select {
		case <-mayTakeBlank:
			return auto && len(candidates(devs)) > 0
		default:
			return false
		}
	}
	d, devs, err := blockdev.Wait(ctx, p.Sysfs, p.Dev, p.Spec, enough)
	if err == nil || !auto || !errors.Is(err, blockdev.ErrNotFound) {
		return d, err
	}
	blank, blankErr := p.blankDisk(devs)
	switch {
	case blankErr != nil:
		return d, blankErr
	case blank != nil:
		return *blank, nil
	}
	return d, fmt.Errorf("%w; and no disk is blank", err)
}

// ended waits for what comes first; it is false when that is the end of ctx.
func ended[T any](ctx context.Context, what <-chan T) bool {
	select {
	case <-what:
		return true
	case <-ctx.Done():
		return false
	}
}

// candidates are fixed disks without any recognised content. The list of names
// leaves out what is no disk of the machine: loop, dm, md, sr, mmcblk0boot0.
func candidates(devs []blockdev.Device) []blockdev.Device {
	var out []blockdev.Device
	for _, d := range devs {
		if d.Parent == "" && d.Partitions == 0 && d.TableType == "" && d.FSType == "" && d.Err == nil &&
			!d.ReadOnly && !d.Removable && len(d.Holders) == 0 && d.Size >= TemplateSize && isDiskName(d.Name) {
			out = append(out, d)
		}
	}
	return out
}

func isDiskName(name string) bool {
	if rest, ok := strings.CutPrefix(name, "mmcblk"); ok {
		return !strings.Contains(rest, "boot") && !strings.Contains(rest, "rpmb")
	}
	for _, prefix := range []string{"sd", "vd", "xvd", "hd", "nvme"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// blankDisk picks the disk to format: one that an earlier boot began to format,
// else the only blank one. nil is none.
func (p *preparer) blankDisk(devs []blockdev.Device) (*blockdev.Device, error) {
	var blank []blockdev.Device
	for _, d := range candidates(devs) {
		switch content, err := inspectPath(d.Path, d.Size); {
		case err != nil:
			p.note("%s: %v", d.Path, err)
		case content == Unfinished:
			return &d, nil
		case content == Blank:
			blank = append(blank, d)
		}
	}
	switch len(blank) {
	case 0:
		return nil, nil
	case 1:
		return &blank[0], nil
	}
	return nil, fmt.Errorf("%d disks are blank (%s) and none has the label %s: name the one to format with kubesolo.data=/dev/...",
		len(blank), blockdev.Seen(blank), Label)
}

func inspectPath(path string, size int64) (Content, error) {
	f, err := os.Open(path)
	if err != nil {
		return Used, err
	}
	defer f.Close()
	return Inspect(f, size, TemplateSize)
}
