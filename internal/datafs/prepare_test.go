package datafs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/mount"
	"kubesolo.io/os/internal/nstest"
)

// machine is a machine whose only disks are loop devices on files, under names
// of disks: a sysfs and a /dev of its own.
type machine struct {
	t    *testing.T
	dir  string
	opts Options
}

func newMachine(t *testing.T) *machine {
	_, encoded := makeTemplate(t)
	dir := t.TempDir()
	m := &machine{t: t, dir: dir, opts: Options{
		Sysfs: filepath.Join(dir, "sys"), Dev: filepath.Join(dir, "dev"), Target: filepath.Join(dir, "data"),
		Template: filepath.Join(dir, "template.gz"), Wait: time.Millisecond,
	}}
	for _, d := range []string{"sys/class/block", "dev", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(m.opts.Template, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// disk adds a disk with the given content at the given offsets.
func (m *machine) disk(name string, readonly bool, content map[int64]string) (file string) {
	m.t.Helper()
	file = filepath.Join(m.dir, name+".img")
	f, err := os.Create(file)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(diskSize); err != nil {
		m.t.Fatal(err)
	}
	for off, s := range content {
		if _, err := f.WriteAt([]byte(s), off); err != nil {
			m.t.Fatal(err)
		}
	}
	m.attach(name, file, readonly)
	return file
}

func (m *machine) attach(name, file string, readonly bool) {
	m.t.Helper()
	dev, err := mount.LoopAttach(file, readonly)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := mount.LoopDetach(dev); err != nil {
			m.t.Error(err)
		}
	})
	node := filepath.Join(m.opts.Dev, name)
	_ = os.Remove(node)
	if err := os.Symlink(dev, node); err != nil {
		m.t.Fatal(err)
	}
	sys := filepath.Join(m.opts.Sysfs, "class/block", name)
	if err := os.MkdirAll(sys, 0o755); err != nil {
		m.t.Fatal(err)
	}
	ro := "0"
	if readonly {
		ro = "1"
	}
	for k, v := range map[string]string{"size": strconv.Itoa(diskSize / 512), "ro": ro, "removable": "0"} {
		if err := os.WriteFile(filepath.Join(sys, k), []byte(v+"\n"), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
}

// prepare runs Prepare and leaves nothing mounted when the test ends.
func (m *machine) prepare() Result {
	m.t.Helper()
	res, err := Prepare(m.t.Context(), m.opts)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.unmount)
	for _, d := range Dirs() {
		st, err := os.Stat(filepath.Join(m.opts.Target, d.Name))
		if err != nil || st.Mode().Perm() != d.Mode {
			m.t.Errorf("directory %s: %v %v", d.Name, st, err)
		}
	}
	return res
}

func (m *machine) unmount() {
	for {
		if _, err := mount.At(m.opts.Target); err != nil {
			return
		}
		tool(m.t, nil, "umount", m.opts.Target)
	}
}

// stamp changes when the loop device writes to its file.
func stamp(t *testing.T, file string) string {
	t.Helper()
	return tool(t, nil, "stat", "-c", "%y %b %s", file)
}

func (m *machine) wantNote(res Result, parts ...string) {
	m.t.Helper()
	notes := strings.Join(res.Notes, "\n")
	for _, p := range parts {
		if !strings.Contains(notes, p) {
			m.t.Errorf("the notes lack %q:\n%s", p, notes)
		}
	}
}

// Programs in containers keep set-uid although MountFlags has nosuid: the
// kernel looks at the overlay's own mount.
func TestOverlayDoesNotInheritNosuid(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	m := newMachine(t)
	m.disk("vda", false, nil)
	m.prepare()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(m.opts.Target, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	id, err := exec.LookPath("id")
	if err != nil {
		t.Fatal(err)
	}
	at := func(dir string) string { return filepath.Join(m.opts.Target, dir, "id") }
	tool(t, nil, "cp", id, at("lower"))
	tool(t, nil, "chown", "1234", at("lower"))
	tool(t, nil, "chmod", "4755", at("lower"))
	e := mount.Entry{Source: "overlay", Target: filepath.Join(m.opts.Target, "merged"), Type: "overlay",
		Data: "lowerdir=" + filepath.Join(m.opts.Target, "lower") + ",upperdir=" + filepath.Join(m.opts.Target, "upper") + ",workdir=" + filepath.Join(m.opts.Target, "work")}
	if err := e.Apply(); err != nil {
		t.Fatal(err)
	}
	defer tool(t, nil, "umount", e.Target)
	if out := tool(t, nil, at("merged"), "-u"); strings.TrimSpace(out) != "1234" {
		t.Errorf("through the overlay the set-uid program runs as %s", out)
	}
	if out := tool(t, nil, at("lower"), "-u"); strings.TrimSpace(out) != "0" {
		t.Errorf("on the data file system itself it runs as %s, in spite of nosuid", out)
	}
}

// First boot formats the one blank disk, the second finds it with its data.
func TestFirstAndSecondBoot(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	m := newMachine(t)
	file := m.disk("vda", false, nil)
	res := m.prepare()
	if res.State != Mounted || !res.Formatted || res.Device != filepath.Join(m.opts.Dev, "vda") {
		t.Fatalf("%+v", res)
	}
	info, err := mount.At(m.opts.Target)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nosuid", "nodev", "noatime", "rw"} {
		if !info.Has(want) {
			t.Errorf("mount options %v lack %s", info.Options, want)
		}
	}
	// errors=remount-ro is also the template's default, which the kernel then does not print.
	if super := strings.Join(info.SuperOptions, ","); !strings.Contains(super, "commit=15") || strings.Contains(super, "errors=") {
		t.Errorf("super options %s", super)
	}
	if err := os.WriteFile(filepath.Join(m.opts.Target, "kubesolo/kept"), []byte("yes"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.unmount()
	tool(t, nil, "e2fsck", "-fn", file)
	dump := tool(t, nil, "dumpe2fs", "-h", file)
	if !strings.Contains(dump, "Filesystem UUID:") || strings.Contains(dump, TemplateUUID) {
		t.Errorf("it still has the template's UUID (this needs Linux 6.0)\n%s", dump)
	}
	res = m.prepare()
	if res.State != Mounted || res.Formatted {
		t.Fatalf("second boot: %+v", res)
	}
	if b, err := os.ReadFile(filepath.Join(m.opts.Target, "kubesolo/kept")); err != nil || string(b) != "yes" {
		t.Errorf("the file of the first boot: %q, %v", b, err)
	}
}

// Whatever is wrong with the disk: memory, a note, and not a byte changed.
func TestDegrade(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	for name, c := range map[string]struct {
		spec  string
		disks []map[int64]string
		notes []string
	}{
		"no disk":          {notes: []string{"no disk at all"}},
		"foreign":          {spec: "/dev/vda", disks: []map[int64]string{{0: "LUKS\xba\xbe"}}, notes: []string{"crypto_LUKS", "never formatted"}},
		"foreign, auto":    {disks: []map[int64]string{{0: "XFSB"}}, notes: []string{"vda xfs", "no disk is blank"}},
		"unknown content":  {spec: "/dev/vda", disks: []map[int64]string{{5 << 20: "my thesis"}}, notes: []string{"no known kind", "never formatted"}},
		"two blank disks":  {disks: []map[int64]string{nil, nil}, notes: []string{"2 disks are blank", "kubesolo.data=/dev/"}},
		"not there":        {spec: "LABEL=OTHER", disks: []map[int64]string{nil}, notes: []string{"label OTHER", "seen: vda"}},
		"bad spec":         {spec: "LABLE=x", notes: []string{"PARTUUID="}},
		"damaged":          {spec: "/dev/vda", disks: []map[int64]string{{1024 + 56: "\x53\xef", 1024 + 100: "\x00\x04"}}, notes: []string{"ext4 superblock damaged (checksum)", "e2fsck"}},
		"an unusable ext4": {spec: "/dev/vda", disks: []map[int64]string{{1024 + 4: "\x00\x10", 1024 + 56: "\x53\xef"}}, notes: []string{"mount", "e2fsck"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.opts.Spec = c.spec
			var files []string
			var before []string
			for i, content := range c.disks {
				file := m.disk(fmt.Sprintf("vd%c", 'a'+i), false, content)
				files = append(files, file)
				before = append(before, stamp(t, file))
			}
			var res Result
			if strings.HasPrefix(c.spec, "/dev/") {
				res = m.prepareNamed("vda")
			} else {
				res = m.prepare()
			}
			if res.State != Memory || res.Formatted {
				t.Errorf("%+v", res)
			}
			m.wantNote(res, c.notes...)
			m.wantNote(res, "runs from memory")
			for i, f := range files {
				if after := stamp(t, f); after != before[i] {
					t.Errorf("disk %d was written", i)
				}
			}
		})
	}
}

// The mount of a file system whose inodes are noise does not succeed, and the
// kernel notes the error in the superblock and in the first block of the
// journal: everything else stays, and it is not said that nothing was written.
func TestDamagedInodes(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	m := newMachine(t)
	file := filepath.Join(m.dir, "vda.img")
	tool(t, nil, "mkfs.ext4", "-q", "-b", "4096", "-L", Label, file, strconv.Itoa(diskSize>>10)+"k")
	number := func(re, text string) int64 {
		n, err := strconv.ParseInt(regexp.MustCompile(re).FindStringSubmatch(text)[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	inodes := number(`Inode table at (\d+)`, tool(t, nil, "dumpe2fs", file))
	journal := number(`(?m)^(\d+) `, tool(t, nil, "debugfs", "-R", "blocks <8>", file))
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The second inode is that of the root directory; 8, the journal's, stays.
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, 256), inodes*4096+256); err != nil {
		t.Fatal(err)
	}
	content := func() string {
		h := sha256.New()
		for _, part := range [][2]int64{{1, journal}, {journal + 1, diskSize / 4096}} {
			if _, err := io.Copy(h, io.NewSectionReader(f, part[0]*4096, (part[1]-part[0])*4096)); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprintf("%x", h.Sum(nil))
	}
	before := content()
	m.attach("vda", file, false)
	res := m.prepareNamed("vda")
	if res.State != Memory {
		t.Errorf("%+v", res)
	}
	m.wantNote(res, "damaged", "runs from memory", "no file there was touched", "e2fsck")
	if content() != before {
		t.Error("more than the first block was written")
	}
}

// prepareNamed is prepare with a device path; Find takes only paths in /dev.
func (m *machine) prepareNamed(name string) Result {
	m.t.Helper()
	real, err := os.Readlink(filepath.Join(m.opts.Dev, name))
	if err != nil {
		m.t.Fatal(err)
	}
	m.opts.Dev = "/dev"
	old := filepath.Join(m.opts.Sysfs, "class/block", name)
	if err := os.Rename(old, filepath.Join(filepath.Dir(old), filepath.Base(real))); err != nil {
		m.t.Fatal(err)
	}
	m.opts.Spec = real
	return m.prepare()
}

func TestReadOnlyDiskKeepsConfiguration(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	m := newMachine(t)
	file := m.disk("vda", false, nil)
	m.prepare()
	for name, text := range map[string]string{"etc-kubesolo/a.yaml": "a", "network/node-ip": "10.0.0.1", "cloud-init.yaml": "c", "kubesolo/state": "s"} {
		if err := os.WriteFile(filepath.Join(m.opts.Target, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.unmount()
	before := stamp(t, file)
	m.attach("vda", file, true)
	res := m.prepare()
	if res.State != ReadOnly {
		t.Fatalf("%+v", res)
	}
	m.wantNote(res, "read-only")
	for name, want := range map[string]bool{"etc-kubesolo/a.yaml": true, "network/node-ip": true, "cloud-init.yaml": true, "kubesolo/state": false} {
		if _, err := os.Stat(filepath.Join(m.opts.Target, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after := stamp(t, file); after != before {
		t.Error("the disk was written")
	}
}

func TestNoPersist(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	m := newMachine(t)
	m.disk("vda", false, nil)
	m.opts.NoPersist = true
	res := m.prepare()
	if res.State != Memory || res.Device != "" {
		t.Errorf("%+v", res)
	}
	if info, err := mount.At(m.opts.Target); err != nil || info.Type != "tmpfs" || !info.Has("nosuid") || !info.Has("nodev") {
		t.Errorf("%+v %v", info, err)
	}
}

func TestCandidates(t *testing.T) {
	ok := blockdev.Device{Name: "vda", Size: diskSize}
	devs := []blockdev.Device{ok}
	for _, change := range []func(*blockdev.Device){
		func(d *blockdev.Device) { d.Removable = true },
		func(d *blockdev.Device) { d.ReadOnly = true },
		func(d *blockdev.Device) { d.FSType = "vfat" },
		func(d *blockdev.Device) { d.TableType = "dos" },
		func(d *blockdev.Device) { d.Partitions = 1 },
		func(d *blockdev.Device) { d.Parent = "vdb" },
		func(d *blockdev.Device) { d.Holders = []string{"dm-0"} },
		func(d *blockdev.Device) { d.Size = TemplateSize - 1 },
		func(d *blockdev.Device) { d.Name = "loop0" },
		func(d *blockdev.Device) { d.Name = "mmcblk0boot0" },
	} {
		d := ok
		change(&d)
		devs = append(devs, d)
	}
	if got := candidates(devs); len(got) != 1 || got[0].Name != "vda" {
		t.Errorf("%v", got)
	}
}
