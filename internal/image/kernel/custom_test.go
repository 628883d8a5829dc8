package kernel_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/kernel"
	"kubesolo.io/os/internal/image/tool"
)

const release = "6.6.8-mine"

// bzImage is as much of one as is read: the header, the version, and the payload.
func bzImage(payload []byte) string {
	b := make([]byte, 0x400, 0x400+len(payload))
	b[0x1f1] = 1 // one sector of setup code after the first: the payload is at 0x400
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x100)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(payload)))
	copy(b[0x300:], release+" (me@here) #1 SMP")
	return string(append(b, payload...))
}

func gz(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// put makes files below dir; "-> TARGET" makes a link.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if target, ok := strings.CutPrefix(text, "-> "); err == nil && ok {
			err = os.Symlink(target, file)
		} else if err == nil {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// modulesBelow are the files that make modules_install leaves in a directory.
func modulesBelow(t *testing.T, dir string) map[string]string {
	t.Helper()
	return map[string]string{
		dir + "/kernel/fs/a.ko":        "a module",
		dir + "/kernel/fs/b.ko.gz":     gz(t, "b module"),
		dir + "/modules.builtin":       "kernel/fs/c.ko\n",
		dir + "/modules.order":         "kernel/fs/a.ko\nkernel/fs/b.ko\n",
		dir + "/source/not/a/module.c": "",
		dir + "/kernel/fs/readme.txt":  "",
		dir + "/updates/dkms/late.ko":  "a module from elsewhere",
		dir + "/modules.builtin.bin":   "made by depmod",
	}
}

func custom(t *testing.T, run *tool.Runner, dir, image, modules, config string) (kernel.Kernel, *inputs.Lock, error) {
	t.Helper()
	lock := &inputs.Lock{}
	join := func(name string) string {
		if name == "" {
			return ""
		}
		return filepath.Join(dir, name)
	}
	k, err := kernel.Custom(t.Context(), run, join(image), join(modules), join(config), filepath.Join(t.TempDir(), "kernel"), lock)
	return k, lock, err
}

func TestCustom(t *testing.T) {
	run := tool.New(nil, time.Unix(1, 0))
	for name, c := range map[string]struct{ at, give string }{
		"as modules_install makes it": {"lib/modules/" + release, "."},
		"a Debian 13 package":         {"usr/lib/modules/" + release, "."},
		"/lib/modules of a machine":   {"modules/" + release, "modules"},
		"the directory itself":        {release, release},
		"a link":                      {"store/1", "linked"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, map[string]string{"bzImage": bzImage(nil), "linked/lib/modules/" + release: "-> ../../../store/1"})
			put(t, dir, modulesBelow(t, c.at))
			k, lock, err := custom(t, run, dir, "bzImage", c.give, "")
			if err != nil {
				t.Fatal(err)
			}
			if k.Release != release || k.Image != filepath.Join(dir, "bzImage") || k.Config != "" {
				t.Errorf("%+v", k)
			}
			if in := lock.List(); len(in) != 1 || in[0].Version != release || in[0].Origin != "bzImage" {
				t.Errorf("inputs %+v", in)
			}
			var got []string
			err = filepath.WalkDir(k.ModulesDir(), func(name string, e fs.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() && !strings.HasPrefix(e.Name(), "modules.") {
					got = append(got, strings.TrimPrefix(name, k.ModulesDir()+"/"))
				}
				return err
			})
			if s := strings.Join(got, " "); err != nil || s != "kernel/fs/a.ko kernel/fs/b.ko updates/dkms/late.ko" {
				t.Errorf("modules %q, %v", s, err)
			}
			if b, err := os.ReadFile(filepath.Join(k.ModulesDir(), "kernel/fs/b.ko")); err != nil || string(b) != "b module" {
				t.Errorf("b.ko is %q, %v", b, err)
			}
			if _, err := kernel.ReadIndex(k.ModulesDir()); err != nil { // depmod has run
				t.Error(err)
			}
		})
	}
}

// Each error names the option, what was tried, and what to do.
func TestCustomRefuses(t *testing.T) {
	run := tool.New(nil, time.Unix(1, 0))
	dir := t.TempDir()
	put(t, dir, map[string]string{"bzImage": bzImage(nil), "vmlinux": "\x7fELF" + strings.Repeat("\x00", 0x400), "file": ""})
	put(t, dir, modulesBelow(t, "good/lib/modules/"+release))
	put(t, dir, modulesBelow(t, "other/lib/modules/6.6.9-mine"))
	put(t, dir, modulesBelow(t, "6.6.10-mine"))
	put(t, dir, map[string]string{"bare/" + release + "/kernel/a.ko": ""}) // make modules_install was cut short
	for _, c := range []struct{ image, modules, config, want string }{
		{"none", "good", "", "KERNEL_IMAGE: open DIR/none: no such file or directory: give arch/x86/boot/bzImage"},
		{"vmlinux", "good", "", "KERNEL_IMAGE=DIR/vmlinux: not an x86 kernel image (bzImage): give arch/x86/boot/bzImage"},
		{"good", "good", "", "KERNEL_IMAGE=DIR/good: not an x86 kernel image (bzImage): give arch/x86/boot/bzImage"},
		{"bzImage", "none", "", "KERNEL_MODULES=DIR/none: stat DIR/none: no such file or directory: give the directory that"},
		{"bzImage", "file", "", "KERNEL_MODULES=DIR/file: no modules of kernel 6.6.8-mine"},
		{"bzImage", "good/lib/modules/" + release + "/kernel", "", "no kernel/ and modules.builtin in lib/modules/6.6.8-mine or 6.6.8-mine: give the directory that"},
		{"bzImage", "other", "", "it has those of 6.6.9-mine"},
		{"bzImage", "other/lib/modules", "", "it has those of 6.6.9-mine"},
		{"bzImage", "6.6.10-mine", "", "it has those of 6.6.10-mine"},
		{"bzImage", "bare", "", "KERNEL_MODULES=DIR/bare: no modules of kernel 6.6.8-mine"},
		{"bzImage", "good", "none", "KERNEL_CONFIG: open DIR/none: no such file or directory: give the .config"},
		{"bzImage", "good", "good", "KERNEL_CONFIG=DIR/good: it is no file: give the .config"},
	} {
		_, _, err := custom(t, run, dir, c.image, c.modules, c.config)
		if want := strings.ReplaceAll(c.want, "DIR", dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("image %s, modules %s, config %s: error %v, want one with %q", c.image, c.modules, c.config, err, want)
		}
	}
}

func TestCustomFindsTheConfiguration(t *testing.T) {
	run := tool.New(nil, time.Unix(1, 0))
	const modules = "root/lib/modules/" + release
	const built = "CONFIG_BUILT=y\n"
	inside := "text IKCFG_ST and no data" + strings.Repeat("\x00", 999) + "IKCFG_ST" + gz(t, "CONFIG_INSIDE=y\n") + "IKCFG_ED" + strings.Repeat("\x00", 999)
	for name, c := range map[string]struct {
		payload, config string
		files           map[string]string
		want            string // "" for none
	}{
		"none":                       {},
		"given":                      {config: "given", payload: gz(t, inside), files: map[string]string{"given": built}, want: built},
		"beside the image":           {files: map[string]string{"boot/config-" + release: built}, want: built},
		"of another kernel":          {files: map[string]string{"boot/config-6.6.9-mine": built}},
		"an unpacked package":        {files: map[string]string{"root/boot/config-" + release: built}, want: built},
		"beside the modules":         {files: map[string]string{modules + "/config": built}, want: built},
		"the build tree of modules":  {files: map[string]string{modules + "/build": "-> " + "../../../../tree", "tree/.config": built, "tree/include/config/kernel.release": release + "\n"}, want: built},
		"the tree has moved on":      {files: map[string]string{modules + "/build": "-> " + "../../../../tree", "tree/.config": built, "tree/include/config/kernel.release": "6.6.9-mine\n"}},
		"the build tree of an image": {files: map[string]string{"boot/arch/x86/boot/bzImage": "", "boot/.config": built, "boot/include/config/kernel.release": release + "\n"}, want: built},
		"in the image, gzip":         {payload: gz(t, inside), want: "CONFIG_INSIDE=y\n"},
		"in the image, zstd":         {payload: zst(t, inside) + "size", want: "CONFIG_INSIDE=y\n"},
		"in the image, xz":           {payload: xz(t, inside) + "size", want: "CONFIG_INSIDE=y\n"},
		"the image's own is better":  {payload: gz(t, inside), files: map[string]string{"boot/config-" + release: built}, want: "CONFIG_INSIDE=y\n"},
		"not in the image":           {payload: gz(t, "IKCFG_ST")},
		"another packing":            {payload: "\x02\x21\x4c\x18 lz4"},
		"a damaged image":            {payload: gz(t, inside)[:40]},
		"in a module":                {files: map[string]string{modules + "/kernel/kernel/configs.ko.gz": gz(t, inside)}, want: "CONFIG_INSIDE=y\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, modulesBelow(t, modules))
			put(t, dir, c.files)
			image := "boot/vmlinuz"
			if _, ok := c.files["boot/arch/x86/boot/bzImage"]; ok {
				image = "boot/arch/x86/boot/bzImage"
			}
			put(t, dir, map[string]string{image: bzImage([]byte(c.payload))})
			k, _, err := custom(t, run, dir, image, "root", c.config)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if k.Config != "" {
					t.Errorf("configuration %s", k.Config)
				}
				return
			}
			if got := unzipped(t, k.Config); got != c.want {
				t.Errorf("%s holds %q, want %q", k.Config, got, c.want)
			}
		})
	}
}

func zst(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

func xz(t *testing.T, text string) string {
	t.Helper()
	out, err := tool.New(nil, time.Unix(1, 0)).Output(t.Context(), tool.Command{Name: "xz", Args: []string{"-c"}, Stdin: strings.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func unzipped(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return string(b)
}
