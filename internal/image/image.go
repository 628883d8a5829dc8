// Package image is the recipe of a KubeSolo OS image: it runs the steps from inputs to
// vmlinuz, kubesolo-os.gz, ISO and disk image, in order, and only those whose inputs
// changed.
//
// It owns the build directory and the choice of inputs (design §2). Each kind of work is
// in a package below this one; programs of the host are run through the tool package
// only. Nothing here needs root, except to install missing Debian packages. Tested by
// building for real and by building twice.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kubesolo.io/os/internal/image/base"
	"kubesolo.io/os/internal/image/gobuild"
	"kubesolo.io/os/internal/image/grub"
	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/kernel"
	"kubesolo.io/os/internal/image/stamp"
	"kubesolo.io/os/internal/image/tool"
)

// Config is what a build is asked for. Paths are the caller's.
type Config struct {
	Repo    string // checkout
	Out     string // build directory
	Version string // of the image, 0.1.0
	Epoch   time.Time

	Base   string // "debian" or "tinycore"
	CoreGZ string // for tinycore

	KernelImage, KernelModules, KernelConfig string // "" = Debian's newest

	KubeSolo       string            // "source", a release tag (v1.2.0), or a file
	KubeSoloURL    string            // base of release URLs
	KubeSoloSHA256 string            // of the release archive or file
	Replace        map[string]string // ksinit, ksagent, kubesolo -> a file to use instead of building

	Keys    string // key directory whose root the nodes trust ("" = test keys in Out/keys)
	Release bool   // refuse test keys

	Level int    // zstd level of the root
	Block string // block size of the root
	Until string // stop after this step ("" = all): kernel, programs, root, initramfs, iso

	// Need are more programs and files that are to be there (see tool.Missing): for what
	// comes after the build, so that nobody learns of them an hour later.
	Need []string

	Progress io.Writer // lines for people
}

// Steps are the names Until takes, in order.
func Steps() []string {
	return []string{"kernel", "programs", "root", "initramfs", "iso", "disk"}
}

// Builder runs one build.
type Builder struct {
	c      Config
	run    *tool.Runner
	stamps stamp.Store
	lock   *inputs.Lock
	deb    inputs.Debian
	start  time.Time

	kernel    kernel.Kernel
	selection kernel.Selection
	modules   string            // directory with the chosen modules
	programs  map[string]string // name -> host file, of our own programs
	installed map[string]string // path in the root -> host file, of the components
	rootParts []Part
	trusted   []byte // root.json
	warnings  []string
}

// ErrConfig is wrapped by errors about what was asked for.
var ErrConfig = errors.New("cannot build this image")

func (b *Builder) path(elem ...string) string {
	return filepath.Join(append([]string{b.c.Out}, elem...)...)
}

// Build builds the image and returns what to tell about it.
func Build(ctx context.Context, c Config) (Result, error) {
	if err := check(&c); err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return Result{}, err
	}
	unlock, err := lock(ctx, c)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	log, err := os.Create(filepath.Join(c.Out, "build.log"))
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = log.Close() }() // a log
	b := &Builder{c: c, run: tool.New(log, c.Epoch), stamps: stamp.Store{Dir: filepath.Join(c.Out, "stamps")},
		lock: &inputs.Lock{}, start: time.Now()}
	b.deb = inputs.Debian{Run: b.run, Cache: b.path("cache/debian")}
	if b.trusted, err = b.trustedRoot(); err != nil { // before an hour is spent
		return Result{}, err
	}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"tools", b.tools}, {"kernel", b.prepareKernel}, {"programs", b.buildPrograms}, {"root", b.buildRoot},
		{"initramfs", b.buildInitramfs}, {"iso", b.buildISO}, {"disk", b.buildDisk},
	}
	for _, s := range steps {
		began := time.Now()
		if err := s.run(ctx); err != nil {
			return Result{}, fmt.Errorf("%s: %w", s.name, err)
		}
		b.say("%-10s done in %.1f s", s.name, time.Since(began).Seconds())
		if s.name == c.Until {
			return Result{Warnings: b.warnings}, nil
		}
	}
	text, err := b.lock.Encode(c.Epoch.Unix())
	if err != nil {
		return Result{}, err
	}
	if err := os.WriteFile(b.path("inputs.lock.json"), text, 0o644); err != nil {
		return Result{}, err
	}
	sizes, err := b.writeSizes()
	return Result{Sizes: sizes, Warnings: b.warnings}, err
}

func check(c *Config) error {
	abs, err := filepath.Abs(c.Out)
	if err != nil {
		return err
	}
	c.Out = abs
	switch {
	case c.Base != "debian" && c.Base != "tinycore":
		return fmt.Errorf("BASE=%s: %w: the base is debian or tinycore", c.Base, ErrConfig)
	case c.Base == "tinycore" && c.CoreGZ == "":
		return fmt.Errorf("BASE=tinycore: %w: say which core.gz with CORE_GZ=FILE", ErrConfig)
	case c.Base == "debian" && c.CoreGZ != "":
		return fmt.Errorf("CORE_GZ=%s: %w: it is only used with BASE=tinycore", c.CoreGZ, ErrConfig)
	case (c.KernelImage == "") != (c.KernelModules == ""):
		return fmt.Errorf("KERNEL_IMAGE=%s KERNEL_MODULES=%s: %w: give both (bzImage and module directory) or none",
			c.KernelImage, c.KernelModules, ErrConfig)
	case c.KernelConfig != "" && c.KernelImage == "":
		return fmt.Errorf("KERNEL_CONFIG=%s: %w: it is only used with KERNEL_IMAGE= and KERNEL_MODULES=; Debian's kernel brings its own",
			c.KernelConfig, ErrConfig)
	case c.Until != "" && !slices.Contains(Steps(), c.Until):
		return fmt.Errorf("until %s: %w: the steps are %v", c.Until, ErrConfig, Steps())
	}
	if c.Release && c.Keys == "" {
		return fmt.Errorf("RELEASE=1: %w: a release needs keys of its own: KEYS=DIR (make keys KEYS=DIR makes them)", ErrConfig)
	}
	for name := range c.Replace {
		if !slices.Contains([]string{"ksinit", "ksagent", "kubesolo"}, name) {
			return fmt.Errorf("replace %s: %w: only ksinit, ksagent and kubesolo can be replaced", name, ErrConfig)
		}
	}
	return nil
}

func (b *Builder) say(format string, args ...any) {
	if b.c.Progress != nil {
		// Progress is for people: a closed terminal must not stop a build.
		_, _ = fmt.Fprintf(b.c.Progress, "[%6.1f s] %s\n", time.Since(b.start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// warn says a thing at once, and again at the end.
func (b *Builder) warn(format string, args ...any) {
	b.warnings = append(b.warnings, fmt.Sprintf(format, args...))
	b.say("warning: %s", b.warnings[len(b.warnings)-1])
}

// tools makes sure that the host has what the asked-for build runs.
func (b *Builder) tools(ctx context.Context) error {
	need := []string{"go", "apt-get", "dpkg-deb", "depmod", "mksquashfs", "mkfs.ext4", "mformat", "xorriso", "grub-mkimage", "xz",
		filepath.Join(grub.Dir(grub.BIOS), "boot_hybrid.img"), filepath.Join(grub.Dir(grub.UEFI), "moddep.lst")}
	need = append(need, gobuild.HostNeeds()...)
	need = append(need, b.c.Need...)
	if b.c.Base == "tinycore" {
		need = append(need, "patchelf")
	}
	return b.run.Need(ctx, b.say, need...)
}

func (b *Builder) prepareKernel(ctx context.Context) error {
	var err error
	dir := b.path("work/kernel")
	if b.c.KernelImage != "" {
		b.kernel, err = kernel.Custom(ctx, b.run, b.c.KernelImage, b.c.KernelModules, b.c.KernelConfig, dir+"-custom", b.lock)
	} else {
		b.say("kernel     fetching Debian's newest")
		b.kernel, err = kernel.Debian(ctx, b.deb, dir, b.lock)
	}
	if err != nil {
		return err
	}
	if err := b.audit(); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(b.c.Repo, "kernel/modules.list"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	list, err := kernel.ParseList(f)
	if err != nil {
		return fmt.Errorf("kernel/modules.list: %w", err)
	}
	index, err := kernel.ReadIndex(b.kernel.ModulesDir())
	if err != nil {
		return err
	}
	if b.selection, err = index.Select(list); err != nil {
		return err
	}
	b.modules = b.path("work/modules")
	if err := kernel.Subset(ctx, b.run, b.kernel, b.selection.Modules, b.modules); err != nil {
		return err
	}
	b.say("kernel     %s (%s), %d modules; not in this kernel: %v", b.kernel.Release, b.kernel.Origin,
		len(b.selection.Modules), b.selection.Absent)
	return copyIfChanged(b.kernel.Image, b.path("vmlinuz"))
}

// buildPrograms builds ksinit, ksagent, the components, and builds or fetches kubesolo.
func (b *Builder) buildPrograms(ctx context.Context) error {
	g := gobuild.Builder{Run: b.run, Stamps: b.stamps, Out: b.path("bin"), Lock: b.lock}
	b.programs = map[string]string{}
	b.lock.Add(inputs.Input{Name: "go", Kind: "tool", Version: b.run.Version("go"), Origin: "go toolchain"})
	for _, p := range []gobuild.Program{
		// Without inlining: 5.7 MB become 5.2, and of ksagent's 5.3 MB in
		// the ISO 4.5 are left. Neither is ever busy.
		{Name: "ksinit", Dir: b.c.Repo, Package: "./cmd/ksinit", GCFlags: "all=-l"},
		{Name: "ksagent", Dir: b.c.Repo, Package: "./cmd/ksagent", GCFlags: "all=-l"},
	} {
		if file := b.c.Replace[p.Name]; file != "" {
			if err := b.given(p.Name, file); err != nil {
				return err
			}
			continue
		}
		b.say("programs   %s", p.Name)
		out, err := g.Build(ctx, p)
		if err != nil {
			return err
		}
		b.programs[p.Name] = out
	}
	if err := b.kubesolo(ctx, g); err != nil {
		return err
	}
	var err error
	b.installed, err = g.Components(ctx, filepath.Join(b.c.Repo, "components"), func(name string) { b.say("programs   %s", name) })
	return err
}

// given takes a file in place of a program that would be built.
func (b *Builder) given(name, file string) error {
	sum, size, err := inputs.HashFile(file)
	if err != nil {
		return fmt.Errorf("program %s: %w", name, err)
	}
	b.lock.Add(inputs.Input{Name: name, Kind: "file", Origin: filepath.Base(file), SHA256: sum, Size: size})
	b.programs[name] = file
	return nil
}

func (b *Builder) osRelease(ctx context.Context) base.OSRelease {
	commit := "unknown"
	out, err := b.run.Output(ctx, tool.Command{Name: "git", Args: []string{"-C", b.c.Repo, "rev-parse", "--short=12", "HEAD"}})
	if err == nil {
		commit = trimLine(out)
	}
	return base.OSRelease{Version: b.c.Version, Build: commit, Base: b.c.Base, Kernel: b.kernel.Release}
}
