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

// find waits for the device of Spec. With auto it falls back to the one blank
// disk of the machine.
func (p *preparer) find(ctx context.Context) (blockdev.Device, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Wait)
	defer cancel()
	auto := p.Spec == "auto"
	began := time.Now()
	enough := func(devs []blockdev.Device) bool {
		return auto && time.Since(began) >= settle && len(candidates(devs)) > 0
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
