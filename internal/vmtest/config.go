package vmtest

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Config describes one virtual machine. The zero value of a field is its
// default; either Kernel, ISO or a bootable disk has to be given.
type Config struct {
	Name       string   // for messages and the transcript's file name
	Kernel     string   // vmlinuz for a direct boot
	Initrd     string   // with Kernel
	Append     string   // kernel arguments, with Kernel
	ISO        string   // CD-ROM image, first in the boot order
	Disks      []Disk   // virtio-blk, in this order vda, vdb, ...
	UEFI       bool     // OVMF instead of SeaBIOS
	UEFIVars   string   // variable store to keep between boots; default: a fresh private copy
	Memory     int      // MiB, default 2048
	CPUs       int      // default 2
	NIC        *NIC     // nil: no network device at all
	Ports      []string // extra virtio-serial port names; see VM.Port
	LateEvents bool     // EventsPort comes with VM.PlugEvents, not with the machine
	Reboots    bool     // let the guest reboot; default: a reboot ends QEMU
	Accel      string   // default: the result of Accelerator
	Extra      []string // further QEMU arguments
	ProbeWith  string   // kernel to probe KVM with, default Kernel
}

// Disk is one virtio-blk disk. Files ending in .qcow2 are that, others raw.
type Disk struct {
	Path     string
	Snapshot bool   // throw writes away
	Serial   string // seen by the guest in /sys/block/*/serial, at most 20 bytes
}

// NIC is a virtio network card on QEMU's user-mode network (10.0.2.0/24, DHCP
// server 10.0.2.2, DNS 10.0.2.3) or the same of another network.
type NIC struct {
	Network  string // "10.0.7.0/24"; default as above
	Forward  []int  // guest TCP ports reachable on 127.0.0.1; see VM.Forwarded
	Restrict bool   // the guest reaches nothing outside; forwards still work
}

// Names of the two ports that KubeSolo OS serves; always present.
const (
	EventsPort     = "io.kubesolo.events"
	KubeconfigPort = "io.kubesolo.kubeconfig"
)

// Paths of Debian's ovmf package.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// fileDescriptors of the child: 0-2 are stdio, QMP and the ports follow.
const firstFD = 3

// args is the QEMU command line; the descriptors from firstFD on are QMP and
// then ports, in that order.
func (c Config) args(accel string, ports []string, vars string) []string {
	a := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-vga", "std",
		"-machine", "q35", "-m", strconv.Itoa(c.memory()), "-smp", strconv.Itoa(c.cpus()),
		"-device", "virtio-rng-pci",
		"-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", firstFD), "-mon", "chardev=qmp,mode=control",
		"-device", "virtio-serial-pci,max_ports=16",
	}
	a = append(a, accelArgs(accel)...)
	for i, name := range ports {
		a = append(a, "-chardev", fmt.Sprintf("socket,id=port%d,fd=%d", i, firstFD+1+i))
		if !c.LateEvents || name != EventsPort {
			a = append(a, "-device", fmt.Sprintf("virtserialport,chardev=port%d,name=%s", i, name))
		}
	}
	if !c.Reboots {
		a = append(a, "-no-reboot")
	}
	if c.UEFI {
		a = append(a, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmfCode,
			"-drive", "if=pflash,format=raw,unit=1,file="+quoteOption(vars))
	}
	boot := 1 // 0 is what a direct boot of a kernel takes
	if c.Kernel != "" {
		a = append(a, "-kernel", c.Kernel, "-append", c.Append)
		if c.Initrd != "" {
			a = append(a, "-initrd", c.Initrd)
		}
	}
	if c.ISO != "" {
		a = append(a, "-drive", "if=none,id=cd,media=cdrom,readonly=on,format=raw,file="+quoteOption(c.ISO),
			"-device", fmt.Sprintf("ide-cd,drive=cd,bootindex=%d", boot))
		boot++
	}
	for i, d := range c.Disks {
		a = append(a, "-drive", d.drive(i), "-device", d.device(i, boot))
		boot++
	}
	if c.NIC != nil {
		a = append(a, "-netdev", c.NIC.netdev(), "-device", "virtio-net-pci,id=nic0,netdev=net0,romfile=")
	}
	return append(a, c.Extra...)
}

func (c Config) memory() int {
	if c.Memory == 0 {
		return 2048
	}
	return c.Memory
}

func (c Config) cpus() int {
	if c.CPUs == 0 {
		return 2
	}
	return c.CPUs
}

func (d Disk) drive(i int) string {
	format := "raw"
	if filepath.Ext(d.Path) == ".qcow2" {
		format = "qcow2"
	}
	// discard=unmap keeps sparse files sparse.
	s := fmt.Sprintf("if=none,id=disk%d,format=%s,discard=unmap,file=%s", i, format, quoteOption(d.Path))
	if d.Snapshot {
		s += ",snapshot=on"
	}
	return s
}

func (d Disk) device(i, boot int) string {
	s := fmt.Sprintf("virtio-blk-pci,id=dev%d,drive=disk%d,bootindex=%d", i, i, boot)
	if d.Serial != "" {
		s += ",serial=" + d.Serial
	}
	return s
}

func (n NIC) netdev() string {
	s := "user,id=net0"
	if n.Network != "" {
		s += ",net=" + n.Network
	}
	if n.Restrict {
		s += ",restrict=on"
	}
	for _, p := range n.Forward {
		// Port 0: the host's kernel picks a free one, so two machines
		// never fight for it. VM.Forwarded asks QEMU which.
		s += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-:%d", p)
	}
	return s
}

// quoteOption doubles commas, QEMU's only escape in option values.
func quoteOption(s string) string { return strings.ReplaceAll(s, ",", ",,") }
