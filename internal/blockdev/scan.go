package blockdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a disk or partition and what is on it.
type Device struct {
	Path   string // /dev/sda1
	Name   string // sda1
	Parent string // sda; empty for a disk
	// Number is the partition's number, Start its first byte on the disk.
	Number     int
	Start      int64
	Size       int64 // bytes
	SectorSize int   // logical, bytes
	ReadOnly   bool
	Removable  bool
	Label      string
	UUID       string
	PartLabel  string
	PartUUID   string
	FSType     string
	Ext4       *Ext4
	// TableType is the disk's partition table: gpt, dos or empty.
	TableType string
	// Partitions is the number of partitions the kernel knows of.
	Partitions int
	// Holders are devices built on this one (dm-0, md0).
	Holders []string
	// Err says why the content could not be read (no medium, damaged).
	Err error
}

// String is for messages: "sda1 vfat EFI 256 MiB".
func (d Device) String() string {
	parts := []string{d.Name}
	switch {
	case d.FSType != "":
		parts = append(parts, d.FSType)
	case d.TableType != "":
		parts = append(parts, d.TableType+" disk")
	}
	switch {
	case d.Label != "":
		parts = append(parts, d.Label)
	case d.PartLabel != "":
		parts = append(parts, "("+d.PartLabel+")")
	}
	if d.Size > 0 {
		parts = append(parts, sizeText(d.Size))
	}
	if d.Err != nil {
		parts = append(parts, "("+d.Err.Error()+")")
	}
	return strings.Join(parts, " ")
}

func sizeText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// Scan lists the block devices of SYSFS/class/block that have a size, sorted by
// name, each with what is on it. Devices made of RAM (ram, zram) and floppies
// are left out: opening an absent floppy drive takes seconds. A device that
// cannot be read is listed with Err set.
func Scan(sysfs, dev string) ([]Device, error) { return scan(sysfs, dev, skipped) }

func scan(sysfs, dev string, skipped func(name string) bool) ([]Device, error) {
	class := filepath.Join(sysfs, "class/block")
	names, err := os.ReadDir(class)
	if err != nil {
		return nil, fmt.Errorf("block devices: %w", err)
	}
	var out []Device
	for _, n := range names {
		if skipped(n.Name()) {
			continue
		}
		d, ok := describe(filepath.Join(class, n.Name()), dev)
		if ok {
			out = append(out, d)
		}
	}
	children := map[string]int{}
	for _, d := range out {
		children[d.Parent]++
	}
	tables := map[string]PartTable{}
	for i := range out {
		out[i].Partitions = children[out[i].Name]
		if out[i].Parent == "" {
			tables[out[i].Name] = readContent(&out[i])
		}
	}
	for i := range out {
		if out[i].Parent != "" {
			e := tables[out[i].Parent].Part[out[i].Number]
			out[i].PartLabel, out[i].PartUUID = e.Label, e.UUID
			readContent(&out[i])
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

func skipped(name string) bool { return numbered(name, "ram", "zram", "fd", "nbd", "mtdblock") }

// skippedForData also leaves CD drives out: none holds data that can be
// written, and an empty one takes 0.2 s to say that it is empty.
func skippedForData(name string) bool { return skipped(name) || numbered(name, "sr") }

// numbered tells whether name is one of the prefixes and a number.
func numbered(name string, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return true
		}
	}
	return false
}

// describe reads what sysfs knows; the unit of "size" and "start" is always
// 512 bytes.
func describe(dir, dev string) (Device, bool) {
	name := filepath.Base(dir)
	size, err := readInt(dir, "size")
	if err != nil || size == 0 {
		return Device{}, false
	}
	// sysfs writes the "/" of names such as cciss/c0d0 as "!".
	d := Device{Name: name, Path: filepath.Join(dev, strings.ReplaceAll(name, "!", "/")), Size: size * 512, SectorSize: 512}
	ro, _ := readInt(dir, "ro")
	d.ReadOnly = ro != 0
	disk := dir
	if number, err := readInt(dir, "partition"); err == nil {
		d.Number = int(number)
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			disk = filepath.Dir(real)
			d.Parent = filepath.Base(disk)
		}
		start, _ := readInt(dir, "start")
		d.Start = start * 512
	}
	if n, err := readInt(disk, "queue/logical_block_size"); err == nil && n >= 512 {
		d.SectorSize = int(n)
	}
	removable, _ := readInt(disk, "removable")
	d.Removable = removable != 0
	if held, err := os.ReadDir(filepath.Join(dir, "holders")); err == nil {
		for _, h := range held {
			d.Holders = append(d.Holders, h.Name())
		}
	}
	return d, true
}

func readInt(dir, name string) (int64, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// readContent opens the device and fills in what is on it.
func readContent(d *Device) PartTable {
	// O_NONBLOCK: a CD drive without a medium answers at once.
	f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		d.Err = shortError(err)
		return PartTable{}
	}
	defer f.Close()
	if !hasMedium(f) {
		d.Err = unix.ENOMEDIUM
		return PartTable{}
	}
	sb, err := Probe(f, d.Size)
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged):
		d.FSType, d.Label, d.Err = damaged.Type, damaged.Label, err
	case err != nil:
		d.Err = shortError(err)
	}
	if err == nil && sb.Type != "" {
		d.FSType, d.Label, d.UUID, d.Ext4 = sb.Type, sb.Label, sb.UUID, sb.Ext4
	}
	if d.Parent != "" {
		return PartTable{}
	}
	table, err := ReadPartTable(f, d.Size, d.SectorSize)
	d.TableType = table.Type
	if d.FSType == "gpt" {
		d.FSType = ""
	}
	if err != nil && d.Err == nil {
		d.Err = shortError(err)
	}
	return table
}

// shortError drops the operation and path, which the device's name repeats.
func shortError(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
