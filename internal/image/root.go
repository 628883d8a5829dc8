package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kubesolo.io/os/internal/datafs"
	"kubesolo.io/os/internal/image/base"
	"kubesolo.io/os/internal/image/disk"
	"kubesolo.io/os/internal/image/elfcheck"
	"kubesolo.io/os/internal/image/initramfs"
	"kubesolo.io/os/internal/image/iso"
	"kubesolo.io/os/internal/image/squashfs"
	"kubesolo.io/os/internal/image/stamp"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/image/tree"
	"kubesolo.io/os/internal/ociimage"
)

// userland makes the base's tree with the programs that KubeSolo executes by name.
func (b *Builder) userland(ctx context.Context) (*tree.Tree, error) {
	scratch := b.path("work/userland")
	var t *tree.Tree
	var err error
	if b.c.Base == "tinycore" {
		var notes []string
		if t, notes, err = base.TinyCore(b.c.CoreGZ, b.lock); err == nil {
			b.say("root       Tiny Core userland, %d entries; %d notes in build/remaster.log", t.Len(), len(notes))
			err = os.WriteFile(b.path("remaster.log"), []byte(strings.Join(notes, "\n")+"\n"), 0o644)
		}
	} else {
		t, err = base.Debian(ctx, b.deb, scratch, b.lock)
	}
	if err != nil {
		return nil, err
	}
	if err := base.Programs(ctx, b.deb, t, b.c.Base == "tinycore", scratch, b.lock); err != nil {
		return nil, err
	}
	if err := base.Certificates(ctx, b.deb, t, b.lock); err != nil {
		return nil, err
	}
	return t, base.Names(ctx, b.deb, t, b.lock)
}

// containerImages builds the OCI archives that the root carries.
func (b *Builder) containerImages(ctx context.Context) (string, error) {
	out := b.path("images")
	packages, err := b.deb.Fetch(ctx, "busybox-static")
	if err != nil {
		return "", err
	}
	busybox := b.path("work/busybox-static")
	files, err := b.deb.Files(ctx, packages[0], "bin/busybox")
	if err != nil {
		return "", err
	}
	if err := writeIfChanged(busybox, files["bin/busybox"], 0o755); err != nil {
		return "", err
	}
	key, err := stamp.KeyOfFiles(nil, b.path("bin/pause"), b.path("bin/coredns"), b.path("bin/local-path-provisioner"), busybox,
		filepath.Join(b.c.Repo, "internal/ociimage"))
	if err != nil {
		return "", err
	}
	list := filepath.Join(out, "images.json")
	key = stamp.Key(key, b.c.Epoch.String())
	if b.stamps.Fresh("images", key) {
		return out, nil
	}
	b.say("root       container images")
	if err := os.RemoveAll(out); err != nil {
		return "", err
	}
	_, err = ociimage.Build(ctx, ociimage.Options{Bin: b.path("bin"), Busybox: busybox, Out: out, Time: b.c.Epoch})
	if err != nil {
		return "", err
	}
	outputs, err := filepath.Glob(filepath.Join(out, "*.tar"))
	if err != nil {
		return "", err
	}
	return out, b.stamps.Done("images", key, append(outputs, list)...)
}

// template makes the empty data partition, raw and encoded.
func (b *Builder) template(ctx context.Context) (raw, encoded string, err error) {
	raw, encoded = b.path("work/data.ext4"), b.path("work/data.ext4.gz")
	argv, env := datafs.TemplateCommand(raw, b.c.Epoch)
	key := stamp.Key(strings.Join(argv, "\n"), strings.Join(env, "\n"), b.run.Version(argv[0]))
	if b.stamps.Fresh("template", key) {
		return raw, encoded, nil
	}
	if err := os.Remove(raw); err != nil && !os.IsNotExist(err) {
		return "", "", err
	}
	if err := b.run.Run(ctx, tool.Command{Name: argv[0], Args: argv[1:], Env: env}); err != nil {
		return "", "", err
	}
	f, err := os.Open(raw)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = f.Close() }() // read only
	fi, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	var buf bytes.Buffer
	if err := datafs.EncodeTemplate(f, fi.Size(), &buf); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(encoded, buf.Bytes(), 0o644); err != nil {
		return "", "", err
	}
	return raw, encoded, b.stamps.Done("template", key, raw, encoded)
}

// buildRoot makes root.squashfs.
func (b *Builder) buildRoot(ctx context.Context) error {
	t, err := b.userland(ctx)
	if err != nil {
		return err
	}
	images, err := b.containerImages(ctx)
	if err != nil {
		return err
	}
	_, template, err := b.template(ctx)
	if err != nil {
		return err
	}
	binaries := map[string]string{"usr/local/bin/kubesolo": b.programs["kubesolo"], "usr/local/bin/ksagent": b.programs["ksagent"]}
	for to, from := range b.installed {
		binaries[to] = from
	}
	err = base.Inject(t, base.Parts{Binaries: binaries, Overlay: filepath.Join(b.c.Repo, "rootfs-overlay"),
		Modules: b.modules, Images: images, Template: template, Release: b.osRelease(ctx), Built: b.c.Epoch, Engine: b.engine(), Root: string(b.trusted)})
	if err != nil {
		return err
	}
	report, err := elfcheck.Check(t)
	if err != nil {
		return err
	}
	if err := report.Err(); err != nil {
		return err
	}
	b.say("root       %d entries, %d static and %d dynamic programs, C library: %s", t.Len(), report.Static, report.Dynamic,
		strings.Join(report.LibC, ", "))
	hash, err := t.Hash()
	if err != nil {
		return err
	}
	out := b.path("root.squashfs")
	o := squashfs.Options{Level: b.c.Level, Block: b.c.Block}
	key := stamp.Key(hash, fmt.Sprint(o), b.c.Epoch.String(), b.run.Version("mksquashfs"))
	if !b.stamps.Fresh("root", key) {
		b.say("root       squashfs, zstd level %d", o.Level)
		if err := squashfs.Pack(ctx, b.run, t, out, o); err != nil {
			return err
		}
		fi, err := os.Stat(out)
		if err != nil {
			return err
		}
		if b.rootParts, err = measure(t, fi.Size()); err != nil {
			return err
		}
		if err := writeJSON(b.path("work/parts.json"), b.rootParts); err != nil {
			return err
		}
		return b.stamps.Done("root", key, out, b.path("work/parts.json"))
	}
	text, err := os.ReadFile(b.path("work/parts.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &b.rootParts)
}

func (b *Builder) buildInitramfs(context.Context) error {
	key, err := stamp.KeyOfFiles(nil, b.programs["ksinit"], b.path("root.squashfs"), b.modules)
	if err != nil {
		return err
	}
	key = stamp.Key(key, strings.Join(b.selection.Initrd, " "))
	out := b.path("kubesolo-os.gz")
	if b.stamps.Fresh("initramfs", key) {
		return nil
	}
	err = initramfs.Write(out, initramfs.Parts{Ksinit: b.programs["ksinit"], Root: b.path("root.squashfs"),
		Modules: b.modules, Release: b.kernel.Release, Selected: b.selection.Initrd})
	if err != nil {
		return err
	}
	return b.stamps.Done("initramfs", key, out)
}

// bootKey changes with everything that ISO and disk image are made of.
func (b *Builder) bootKey() (string, error) {
	key, err := stamp.KeyOfFiles(nil, b.path("vmlinuz"), b.path("kubesolo-os.gz"),
		filepath.Join(b.c.Repo, "internal/image"), filepath.Join(b.c.Repo, "internal/gpt"))
	if err != nil {
		return "", err
	}
	return stamp.Key(key, b.c.Epoch.String(), b.c.Version, b.run.Version("xorriso"), b.run.Version("grub-mkimage"), b.run.Version("mformat")), nil
}

func (b *Builder) buildISO(ctx context.Context) error {
	key, err := b.bootKey()
	if err != nil {
		return err
	}
	out := b.path("kubesolo-os-amd64.iso")
	if b.stamps.Fresh("iso", key) {
		return nil
	}
	err = iso.Write(ctx, b.run, out, iso.Parts{Kernel: b.path("vmlinuz"), Initramfs: b.path("kubesolo-os.gz"), Work: b.path("work/iso")})
	if err != nil {
		return err
	}
	return b.stamps.Done("iso", key, out)
}

// buildDisk makes the slot image and the disk image.
func (b *Builder) buildDisk(ctx context.Context) error {
	data, _, err := b.template(ctx)
	if err != nil {
		return err
	}
	key, err := b.bootKey()
	if err != nil {
		return err
	}
	slot, out := b.path("slot.squashfs"), b.path("kubesolo-os-amd64.img")
	release := b.osRelease(ctx)
	key = stamp.Key(key, release.Build)
	if b.stamps.Fresh("disk", key) {
		return nil
	}
	info := SlotInfo{Version: b.c.Version, Build: release.Build, Architecture: "amd64", Kernel: b.kernel.Release, Epoch: b.c.Epoch.Unix()}
	if err := WriteSlot(ctx, b.run, slot, info, b.path("vmlinuz"), b.path("kubesolo-os.gz")); err != nil {
		return err
	}
	if err := disk.Write(ctx, b.run, out, disk.Parts{Slot: slot, Data: data, Work: b.path("work/disk")}); err != nil {
		return err
	}
	return b.stamps.Done("disk", key, out, slot)
}

func writeJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

// writeIfChanged keeps the file's time when its content is the same already.
func writeIfChanged(name string, data []byte, perm os.FileMode) error {
	if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, perm)
}

func copyIfChanged(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return writeIfChanged(to, data, 0o644)
}

func trimLine(b []byte) string { return string(bytes.TrimSpace(b)) }
