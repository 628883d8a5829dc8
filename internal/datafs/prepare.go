package datafs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/mount"
)

// Options of Prepare. The zero value is the real system with kubesolo.data=auto.
type Options struct {
	// Spec is the value of kubesolo.data=, see blockdev.Find.
	Spec string
	// NoPersist is kubesolo.nopersist: memory, without looking at disks.
	NoPersist bool
	// Target is the mount point; empty is /data.
	Target string
	// Template is the path of the template; empty is DefaultTemplate.
	Template string
	// Sysfs and Dev are empty for /sys and /dev.
	Sysfs, Dev string
	// Wait is how long to wait for a disk that comes late (USB takes some
	// seconds); 0 is 10 s for a named device and 3 s for auto.
	Wait time.Duration
	// Drivers is closed when the drivers of all devices are loaded. Until then
	// no blank disk is taken, since the labelled one may be still to come. nil:
	// they are.
	Drivers <-chan struct{}
	// Repair checks and repairs the ext4 on a device that is not mounted, and
	// tells in a few words what it did. nil: there is no such program.
	Repair func(ctx context.Context, device string) (outcome string, err error)
	// Log gets a line for each thing worth a line while it happens; may be nil.
	Log func(string)
}

// State is where the node's data are.
type State string

// Mounted is a disk. ReadOnly is memory at the target, with the configuration
// of a disk that cannot be written copied into it. Memory is memory.
const (
	Mounted  State = "mounted"
	ReadOnly State = "readonly"
	Memory   State = "memory"
)

// Result says what Prepare did. Notes are for the operator: each names the
// device, what is wrong and the way out. They are empty when all is well.
type Result struct {
	Device           string
	State            State
	Formatted, Grown bool
	Notes            []string
}

// MountFlags are those of the data file system. Programs in containers keep
// their set-uid bits and devices: an overlay obeys its own mount flags, not
// those of the file systems below it. noexec is not possible: KubeSolo releases
// with a bundled runtime run programs from their directory.
const MountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOATIME

// MountOptions: errors=remount-ro keeps a damaged file system from getting worse;
// commit=15 trades the last seconds of logs for fewer writes to flash, while
// databases sync by themselves; resuid is a user that no pod can have, so that
// the reserved blocks are for capable(CAP_SYS_RESOURCE) alone and not for every
// root (fs/ext4/balloc.c; overlayfs lowers that capability for its writes).
const MountOptions = "errors=remount-ro,commit=15,resuid=4294967294"

// Prepare mounts the data file system, or memory, at the target, and makes the
// directories of Dirs in it. A disk that cannot be used is a note and not an
// error; an error means that nothing is mounted at all.
func Prepare(ctx context.Context, o Options) (Result, error) {
	p := preparer{Options: o}
	p.defaults()
	return p.run(ctx)
}

type preparer struct {
	Options
	res Result
}

func (p *preparer) defaults() {
	set := func(s *string, def string) {
		if *s == "" {
			*s = def
		}
	}
	set(&p.Spec, "auto")
	set(&p.Target, "/data")
	set(&p.Template, DefaultTemplate)
	set(&p.Sysfs, "/sys")
	set(&p.Dev, "/dev")
	if p.Wait == 0 {
		p.Wait = 10 * time.Second
		if p.Spec == "auto" {
			p.Wait = 3 * time.Second
		}
	}
	if p.Drivers == nil {
		loaded := make(chan struct{})
		close(loaded)
		p.Drivers = loaded
	}
	if p.Log == nil {
		p.Log = func(string) {}
	}
}

func (p *preparer) note(format string, args ...any) {
	p.res.Notes = append(p.res.Notes, "data: "+fmt.Sprintf(format, args...))
}

const runsFromMemory = "the node runs from memory, nothing was written"

// noFileTouched is what can be said after a mount that did not succeed: the
// kernel notes an error that it found on the way in the superblock.
const noFileTouched = "the node runs from memory, no file there was touched"

func (p *preparer) run(ctx context.Context) (Result, error) {
	if p.NoPersist {
		p.note("kubesolo.nopersist is set: everything is in memory and lost at power-off")
		return p.memory()
	}
	d, err := p.find(ctx)
	if err != nil {
		p.note("%v; %s", err, runsFromMemory)
		return p.memory()
	}
	p.res.Device = d.Path
	if err := p.content(&d); err != nil {
		p.note("%s: %v; %s", d.Path, err, runsFromMemory)
		return p.memory()
	}
	if d.ReadOnly {
		return p.readOnly(d)
	}
	if p.growPartition(d) {
		p.res.Grown = true
	}
	if err := p.mountRepaired(ctx, d); err != nil {
		p.note("%s: %v; %s; repair it with e2fsck from another machine, or name another disk with kubesolo.data=", d.Path, explainMount(err), noFileTouched)
		return p.memory()
	}
	p.res.State = Mounted
	p.afterMount(d)
	p.reserve()
	p.makeDirs()
	return p.res, nil
}

func (p *preparer) mountDisk(dev string, flags uintptr, data string) error {
	return mount.Entry{Source: dev, Target: p.Target, Type: "ext4", Flags: flags, Data: data}.Apply()
}

func explainMount(err error) error {
	switch {
	case errors.Is(err, unix.EUCLEAN):
		return fmt.Errorf("%w: the ext4 file system is damaged", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: this kernel has no ext4 (is the module loaded?)", err)
	}
	return err
}

// content sees to it that the device holds an ext4: it formats it when it is
// empty. The error tells why the device cannot be used.
func (p *preparer) content(d *blockdev.Device) error {
	if d.Partitions > 0 {
		return fmt.Errorf("it has %d partitions of its own; name one of them with kubesolo.data=", d.Partitions)
	}
	var damaged *blockdev.DamagedError
	switch {
	case unfinished(*d):
	case errors.As(d.Err, &damaged):
		return fmt.Errorf("%w; repair it with e2fsck from another machine, or wipe its first %d MiB to start anew", d.Err, TemplateSize>>20)
	case d.Err != nil:
		return fmt.Errorf("cannot be read: %w", d.Err)
	case d.FSType == "ext4":
		if d.Ext4 != nil && d.Ext4.HasErrors && (p.Repair == nil || d.ReadOnly) {
			p.note("%s: the kernel found errors in this ext4 earlier; run e2fsck from another machine", d.Path)
		}
		return nil
	case d.FSType != "" || d.TableType != "":
		return foreignError(*d)
	}
	if d.ReadOnly {
		return errors.New("it is empty, and read-only")
	}
	if len(d.Holders) > 0 {
		return fmt.Errorf("it is part of %s", d.Holders[0])
	}
	return p.format(d)
}

func foreignError(d blockdev.Device) error {
	what := d.FSType
	if what == "" {
		what = d.TableType + " partition table"
	}
	return fmt.Errorf("it holds something else (%s %s) and is never formatted; wipe its first %d MiB and its last one to give it to this node",
		what, d.Label, TemplateSize>>20)
}

// unfinished tells whether an earlier boot was cut while it formatted.
func unfinished(d blockdev.Device) bool {
	f, err := os.Open(d.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, markerSize)
	if _, err := f.ReadAt(head, 0); err != nil || !bytes.Equal(head, marker()) {
		return false
	}
	content, err := Inspect(f, d.Size, TemplateSize)
	return err == nil && content == Unfinished
}

func (p *preparer) openTemplate() (io.ReadCloser, error) { return os.Open(p.Template) }

func (p *preparer) format(d *blockdev.Device) error {
	// O_EXCL: refused while anything else has the device mounted or claimed.
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	p.Log("data: formatting " + d.Path)
	err = Format(f, d.Size, p.openTemplate)
	if errors.Is(err, ErrUsed) {
		return fmt.Errorf("it holds data of no known kind and is never formatted; wipe its first %d MiB and its last one to give it to this node", TemplateSize>>20)
	}
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	p.res.Formatted = true
	sb, err := blockdev.Probe(f, d.Size)
	if err != nil || sb.Ext4 == nil {
		return errors.Join(errors.New("format: what was written does not read back; the disk is broken"), err)
	}
	d.FSType, d.Label, d.Ext4 = sb.Type, sb.Label, sb.Ext4
	return nil
}

// Dir is a directory on the data file system.
type Dir struct {
	Name string
	Mode os.FileMode
}

// Dirs are the directories that the boot binds over the system's own.
func Dirs() []Dir {
	return []Dir{
		{"kubesolo", 0o700}, {"containerd", 0o755}, {"etc-kubesolo", 0o755}, {"network", 0o755},
		{"log", 0o755}, {"update", 0o755}, {"usr-local", 0o755},
	}
}

func (p *preparer) makeDirs() {
	for _, d := range Dirs() {
		name := filepath.Join(p.Target, d.Name)
		err := os.Mkdir(name, d.Mode)
		if err == nil {
			err = os.Chmod(name, d.Mode)
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			p.note("%v", err)
		}
	}
}
