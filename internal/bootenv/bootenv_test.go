package bootenv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/fatfile"
	"kubesolo.io/os/internal/gpt"
)

const mib = 1 << 20

// machine is a directory with the sysfs and the devices that Scan looks at.
type machine struct {
	t    *testing.T
	root string
}

// partSize goes with clusters of one sector.
func partSize(kind string) int64 {
	if kind == "32" {
		return 36 * mib
	}
	return 16 * mib
}

func newMachine(t *testing.T) machine { return machine{t, t.TempDir()} }

func (m machine) dev(name string) string { return filepath.Join(m.root, "dev", name) }

func (m machine) find() (*Disk, error) {
	return Find(filepath.Join(m.root, "sys"), filepath.Join(m.root, "dev"))
}

func (m machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) tool(name string, args ...string) {
	m.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name) // not in everyone's PATH
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		m.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// device makes a device of size bytes, all zero.
func (m machine) device(name, parent string, size int64, files map[string]string) string {
	m.t.Helper()
	dir := filepath.Join(m.root, "sys/devices", parent, name)
	m.must(os.MkdirAll(filepath.Join(dir, "queue"), 0o755))
	m.must(os.MkdirAll(filepath.Join(m.root, "sys/class/block"), 0o755))
	m.must(os.MkdirAll(filepath.Join(m.root, "dev"), 0o755))
	files["size"] = fmt.Sprint(size / 512)
	for k, v := range files {
		m.must(os.WriteFile(filepath.Join(dir, k), []byte(v+"\n"), 0o600))
	}
	m.must(os.Symlink(dir, filepath.Join(m.root, "sys/class/block", name)))
	m.must(os.WriteFile(m.dev(name), nil, 0o600))
	m.must(os.Truncate(m.dev(name), size))
	return m.dev(name)
}

// disk makes a disk with partitions of these names, and on the first one the file
// system that kind asks mkfs.vfat for.
func (m machine) disk(name, kind string, parts ...string) {
	m.t.Helper()
	size := partSize(kind)
	disk := m.device(name, "", 128*mib, map[string]string{"queue/logical_block_size": "512"})
	var specs []gpt.Spec
	for i, part := range parts {
		id := gpt.MustGUID(fmt.Sprintf("00000000-1111-4222-8333-%012d", i+1))
		specs = append(specs, gpt.Spec{Number: i + 1, Type: gpt.MustGUID(gpt.TypeLinux), ID: id, Name: part, Size: size})
	}
	table, err := gpt.Build(gpt.MustGUID("00000000-1111-4222-8333-000000000000"), 128*mib, 512, specs)
	m.must(err)
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	m.must(err)
	defer f.Close()
	m.must(table.Write(f))
	for _, p := range table.Partitions {
		m.device(fmt.Sprint(name, p.Number), name, int64(p.Sectors())*512,
			map[string]string{"partition": fmt.Sprint(p.Number), "start": fmt.Sprint(p.First)})
	}
	m.tool("mkfs.vfat", "-F", kind, "-s", "1", m.dev(name+"1"))
	m.tool("mmd", "-i", m.dev(name+"1"), "::boot", "::boot/grub", "::EFI", "::EFI/BOOT")
}

func (m machine) put(name, path string, content []byte) {
	m.t.Helper()
	file := filepath.Join(m.root, "file")
	m.must(os.WriteFile(file, content, 0o600))
	m.tool("mcopy", "-o", "-i", m.dev(name), file, "::"+path)
}

func encode(t *testing.T, s abslot.State) []byte {
	t.Helper()
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// installed is a machine whose disk is as the image has it.
func installed(t *testing.T, kind string) machine {
	m := newMachine(t)
	m.disk("sda", kind, gpt.NameEFI, gpt.NameSlotA, gpt.NameSlotB)
	first := encode(t, abslot.First(abslot.A))
	m.put("sda1", "boot/grub/env1", first)
	m.put("sda1", "boot/grub/grub.cfg", []byte("menu"))
	m.put("sda1", "EFI/BOOT/BOOTX64.EFI", bytes.Repeat([]byte("grub"), 5000))
	m.put("sda1", "boot/grub/env2", first)
	return m
}

// place is where a file begins.
func (m machine) place(path string) int64 {
	m.t.Helper()
	f, err := os.Open(m.dev("sda1"))
	m.must(err)
	defer f.Close()
	fi, err := f.Stat()
	m.must(err)
	found, err := fatfile.Find(f, fi.Size(), path)
	m.must(err)
	return found.Extents[0].Offset
}

func (m machine) overwrite(at int64, b []byte) {
	m.t.Helper()
	f, err := os.OpenFile(m.dev("sda1"), os.O_RDWR, 0)
	m.must(err)
	defer f.Close()
	_, err = f.WriteAt(b, at)
	m.must(err)
}

// rest is the content of the partition without the two copies.
func (m machine) rest() []byte {
	m.t.Helper()
	b, err := os.ReadFile(m.dev("sda1"))
	m.must(err)
	for _, name := range []string{"env1", "env2"} {
		clear(b[m.place("boot/grub/"+name):][:abslot.Size])
	}
	return b
}

func TestChange(t *testing.T) {
	for _, kind := range []string{"16", "32"} {
		t.Run("FAT"+kind, func(t *testing.T) {
			m := installed(t, kind)
			before := m.rest()
			d, err := m.find()
			m.must(err)
			for slot, want := range map[abslot.Slot]string{abslot.A: m.dev("sda2"), abslot.B: m.dev("sda3"), abslot.None: ""} {
				if path, size := d.Slot(slot); d.Name != "sda" || path != want || path != "" && size != partSize(kind) {
					t.Errorf("%s: slot %v is %s with %d bytes", d.Name, slot, path, size)
				}
			}
			armed, err := d.Change(func(s abslot.State) (abslot.State, error) { return s.Arm(abslot.B, 3) })
			if want := (abslot.State{Generation: 2, Good: abslot.A, Trial: abslot.B, Tries: 3}); err != nil || armed != want {
				t.Errorf("armed: %v, %v", armed, err)
			}
			copies, err := d.Read()
			if err != nil || !bytes.Equal(copies[0], encode(t, armed)) || !bytes.Equal(copies[1], encode(t, armed)) {
				t.Errorf("%v:\n%s\n%s", err, copies[0], copies[1])
			}
			if s, wrote, err := d.Heal(abslot.A, false); err != nil || wrote || s != armed {
				t.Errorf("nothing to heal: %v, %v, %v", s, wrote, err)
			}
			refused := errors.New("refused")
			if _, err := d.Change(func(s abslot.State) (abslot.State, error) { return s, refused }); !errors.Is(err, refused) {
				t.Errorf("%v", err)
			}
			if !bytes.Equal(m.rest(), before) {
				t.Error("something but the two copies was written")
			}
		})
	}
}

func TestHeal(t *testing.T) {
	m := installed(t, "16")
	before := m.rest()
	armed := abslot.State{Generation: 2, Good: abslot.A, Trial: abslot.B, Tries: 3}
	noise := bytes.Repeat([]byte{0xA5}, abslot.Size)
	torn := append(bytes.Clone(encode(t, armed)[:512]), noise[512:]...)
	env1, env2 := m.place("boot/grub/env1"), m.place("boot/grub/env2")
	d, err := m.find()
	m.must(err)
	for _, c := range []struct {
		name         string
		first, other []byte
		running      abslot.Slot
		trial        bool
		want         abslot.State
	}{
		{"newer", encode(t, abslot.First(abslot.A)), encode(t, armed), abslot.B, true, armed},
		{"torn", encode(t, armed), torn, abslot.B, true, armed},
		{"damaged", noise, encode(t, armed), abslot.A, false, armed},
		{"both lost", noise, torn, abslot.B, false, abslot.First(abslot.B)},
	} {
		m.overwrite(env1, c.first)
		m.overwrite(env2, c.other)
		if s, wrote, err := d.Heal(c.running, c.trial); err != nil || !wrote || s != c.want {
			t.Errorf("%s: %v, %v, %v", c.name, s, wrote, err)
		}
		if copies, err := d.Read(); err != nil || !bytes.Equal(copies[0], encode(t, c.want)) || !bytes.Equal(copies[1], copies[0]) {
			t.Errorf("%s: not healed: %v", c.name, err)
		}
	}
	if !bytes.Equal(m.rest(), before) {
		t.Error("something but the two copies was written")
	}
	m.overwrite(env1, noise)
	m.overwrite(env2, noise)
	if _, err := d.Change(abslot.State.Rollback); !errors.Is(err, abslot.ErrInvalid) || !strings.Contains(err.Error(), "sda1: env1: ") {
		t.Errorf("a change of nothing: %v", err)
	}
	if _, _, err := d.Heal(abslot.None, false); !errors.Is(err, abslot.ErrInvalid) {
		t.Errorf("no slot runs: %v", err)
	}
}

// What is not surely a place of ours is neither read nor written.
func TestRefusedPlaces(t *testing.T) {
	// The entry of a file in the directory, by its short name; its first cluster
	// is at byte 26.
	entry := func(m machine, name string) int64 {
		b, err := os.ReadFile(m.dev("sda1"))
		m.must(err)
		return int64(bytes.Index(b, []byte(name)))
	}
	for _, c := range []struct {
		name, want string
		do         func(m machine)
	}{
		{"no file", "env2: file does not exist", func(m machine) { m.tool("mdel", "-i", m.dev("sda1"), "::boot/grub/env2") }},
		{"another size", "env1 has 1025 bytes in 1 pieces", func(m machine) {
			m.tool("mdel", "-i", m.dev("sda1"), "::boot/grub/env1", "::boot/grub/grub.cfg", "::EFI/BOOT/BOOTX64.EFI")
			m.put("sda1", "boot/grub/env1", make([]byte, 1025))
		}},
		{"in pieces", "env2 has 1024 bytes in 2 pieces", func(m machine) {
			m.tool("mdel", "-i", m.dev("sda1"), "::boot/grub/env2", "::boot/grub/grub.cfg")
			m.put("sda1", "boot/grub/env2", encode(m.t, abslot.First(abslot.A)))
		}},
		{"where the menu is", "env1 lies where another file", func(m machine) {
			m.tool("mdel", "-i", m.dev("sda1"), "::boot/grub/grub.cfg", "::EFI/BOOT/BOOTX64.EFI")
			m.put("sda1", "boot/grub/grub.cfg", make([]byte, 1024)) // two clusters, as env1 has
			at := entry(m, "GRUB    CFG")
			b, err := os.ReadFile(m.dev("sda1"))
			m.must(err)
			m.overwrite(entry(m, "ENV1       ")+26, b[at+26:at+28])
		}},
		{"both in one", "env2 lies where another file", func(m machine) {
			b, err := os.ReadFile(m.dev("sda1"))
			m.must(err)
			at := entry(m, "ENV1       ")
			m.overwrite(entry(m, "ENV2       ")+26, b[at+26:at+28])
		}},
		{"no file system", "boot sector: signature", func(m machine) { m.overwrite(0, make([]byte, 512)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := installed(t, "16")
			c.do(m)
			before, err := os.ReadFile(m.dev("sda1"))
			m.must(err)
			d, err := m.find()
			m.must(err)
			_, readErr := d.Read()
			_, _, healErr := d.Heal(abslot.A, false)
			_, changeErr := d.Change(func(s abslot.State) (abslot.State, error) { return s.Arm(abslot.B, 3) })
			for _, err := range []error{readErr, healErr, changeErr} {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "slot state on "+m.dev("sda1")) {
					t.Errorf("%v, want %s", err, c.want)
				}
			}
			if after, err := os.ReadFile(m.dev("sda1")); err != nil || !bytes.Equal(after, before) {
				t.Errorf("it was written, %v", err)
			}
		})
	}
}

func TestFind(t *testing.T) {
	m := newMachine(t)
	m.disk("sda", "16", gpt.NameEFI, gpt.NameSlotA)
	m.disk("sdb", "16", gpt.NameEFI, gpt.NameSlotB, gpt.NameSlotA) // GRUB goes by number
	if _, err := m.find(); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "sda1 vfat") {
		t.Errorf("no disk: %v", err)
	}
	m.disk("sdc", "16", gpt.NameEFI, gpt.NameSlotA, gpt.NameSlotB)
	if d, err := m.find(); err != nil || d.Name != "sdc" {
		t.Errorf("%+v, %v", d, err)
	}
	m.disk("vda", "16", gpt.NameEFI, gpt.NameSlotA, gpt.NameSlotB)
	if _, err := m.find(); err == nil || errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "(sdc, vda)") {
		t.Errorf("two disks: %v", err)
	}
	if _, err := Find(filepath.Join(t.TempDir(), "none"), "/dev"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no sysfs: %v", err)
	}
}
