package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/mount"
)

// readVolume is a step of its own because it takes time beside the data
// partition: a CD drive answers late. What it found is a source of readConfig,
// which also says what was wrong.
func (n *node) readVolume(ctx context.Context) error {
	n.volume = n.findVolume()
	for _, d := range n.volume {
		if d.err == nil {
			boot.Note(ctx, "%s", d.origin)
		}
	}
	return nil
}

// findVolume looks for a NoCloud volume: a disk labelled CIDATA.
func (n *node) findVolume() []document {
	device, release, err := n.mountVolume("/run/ksinit/cidata", "CIDATA", "cidata")
	if errors.Is(err, blockdev.ErrNotFound) {
		return nil
	}
	if err != nil {
		return []document{{err: fmt.Errorf("configuration volume: %w", err)}}
	}
	defer func() {
		if err := release(); err != nil {
			n.log.Warn("configuration volume stays mounted", "err", err)
		}
	}()
	return volumeDocuments("/run/ksinit/cidata", device, hardwareAddresses("/sys"))
}

// mountVolume mounts the disk with the first of the labels that there is, to be
// read only. It is blockdev.ErrNotFound when there is none.
func (n *node) mountVolume(target string, labels ...string) (device string, release func() error, err error) {
	devices, err := blockdev.Scan("/sys", "/dev")
	if err != nil {
		return "", nil, err
	}
	var volume blockdev.Device
	for _, label := range labels {
		volume, err = blockdev.Find(devices, "LABEL="+label)
		if !errors.Is(err, blockdev.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return "", nil, err
	}
	at := mount.Entry{Source: volume.Path, Target: target, Type: volume.FSType, Flags: unix.MS_RDONLY | quiet}
	if err := n.loadModules(volume.FSType); err != nil {
		n.log.Debug("file system module", "err", err)
	}
	if err := at.Apply(); err != nil {
		return "", nil, err
	}
	return volume.Path, func() error { return unix.Unmount(target, 0) }, nil
}

// volumeDocuments reads what there is of a NoCloud volume that is mounted at
// dir, lowest first: the files of cloud-init, then those of this machine, which
// are named by a hardware address of it, so that one stick serves many
// machines.
func volumeDocuments(dir, device string, addresses []string) []document {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []document{{err: fmt.Errorf("configuration volume %s: %w", device, err)}}
	}
	var out []document
	add := func(name, as string, kind cloudinit.Kind) bool {
		// Not every file system of a volume keeps small letters.
		i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return strings.EqualFold(e.Name(), name) })
		if i < 0 {
			return false
		}
		d := document{name: as, kind: kind, origin: device + " " + name}
		d.text, d.err = readFile(filepath.Join(dir, entries[i].Name()))
		// cloud-init wants a file user-data, be it empty.
		if kind != cloudinit.CloudConfig || d.err != nil || len(bytes.TrimSpace(d.text)) > 0 {
			out = append(out, d)
		}
		return true
	}
	found := add("meta-data", "cidata-meta-data", cloudinit.MetaData)
	found = add("network-config", "cidata-network-config", cloudinit.NetworkConfig) || found
	found = add("user-data", "cidata", cloudinit.CloudConfig) || add("cloud-init.yaml", "cidata", cloudinit.CloudConfig) || found
	for _, address := range addresses {
		name := strings.ReplaceAll(address, ":", "-")
		found = add(name+".yaml", "cidata-"+name, cloudinit.CloudConfig) || found
	}
	if !found {
		own := "52-54-00-12-34-56" // as an example, in a machine without a link
		if len(addresses) > 0 {
			own = strings.ReplaceAll(addresses[0], ":", "-")
		}
		out = append(out, document{err: fmt.Errorf("configuration volume %s: it has none of user-data, meta-data, network-config and %s.yaml", device, own)})
	}
	return out
}

// hardwareAddresses are those of the Ethernet links, small letters, sorted.
func hardwareAddresses(sysfs string) []string {
	const none = "00:00:00:00:00:00"
	files, err := filepath.Glob(filepath.Join(sysfs, "class/net/*/address"))
	if err != nil {
		return nil
	}
	var out []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if address := strings.ToLower(strings.TrimSpace(string(text))); err == nil && len(address) == len(none) && address != none {
			out = append(out, address)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
