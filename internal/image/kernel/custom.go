package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tool"
)

// What to give, for the errors about what was given.
const (
	giveImage   = "give arch/x86/boot/bzImage of the kernel's build, or a distribution's /boot/vmlinuz-RELEASE"
	giveModules = "give the directory that `make modules_install INSTALL_MOD_PATH=DIR` filled"
	// GiveConfig is also for a file that turns out to be no configuration.
	GiveConfig = "give the .config of the kernel's build, its /boot/config-RELEASE, or a copy of its /proc/config.gz"
)

// Custom takes a kernel image and a module tree (a directory named after the release, or
// one that holds lib/modules/<release> or <release>) given by the user. config may be "";
// then the configuration is looked for, see findConfig.
func Custom(ctx context.Context, run *tool.Runner, image, modules, config, dir string, lock *inputs.Lock) (Kernel, error) {
	f, err := os.Open(image)
	if err != nil {
		return Kernel{}, fmt.Errorf("KERNEL_IMAGE: %w: %s", err, giveImage)
	}
	defer func() { _ = f.Close() }() // read only
	release, err := ReleaseOf(f)
	if err != nil {
		return Kernel{}, fmt.Errorf("KERNEL_IMAGE=%s: %w: %s", image, err, giveImage)
	}
	source, err := findModules(modules, release)
	if err != nil {
		return Kernel{}, fmt.Errorf("KERNEL_MODULES=%s: %w: %s", modules, err, giveModules)
	}
	if config != "" {
		if err := readable(config); err != nil {
			return Kernel{}, err
		}
	}
	sum, size, err := inputs.HashFile(image)
	if err != nil {
		return Kernel{}, err
	}
	lock.Add(inputs.Input{Name: "kernel", Kind: "file", Version: release, Origin: filepath.Base(image), SHA256: sum, Size: size})
	k := Kernel{Image: image, Release: release, Modules: dir, Config: config, Origin: "file " + image}
	if err := os.RemoveAll(dir); err != nil {
		return Kernel{}, err
	}
	if err := copyModules(ctx, run, source, k.ModulesDir()); err != nil {
		return Kernel{}, fmt.Errorf("KERNEL_MODULES=%s: %w", modules, err)
	}
	if err := depmod(ctx, run, dir, release); err != nil {
		return Kernel{}, err
	}
	if config == "" {
		k.Config, err = findConfig(ctx, run, f, k, modules, source)
	}
	return k, err
}

// readable refuses a configuration that is not there before any module is copied.
func readable(config string) error {
	f, err := os.Open(config)
	if err != nil {
		return fmt.Errorf("KERNEL_CONFIG: %w: %s", err, GiveConfig)
	}
	defer func() { _ = f.Close() }() // read only
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return errors.Join(err, fmt.Errorf("KERNEL_CONFIG=%s: it is no file: %s", config, GiveConfig))
	}
	return nil
}

// findModules is the directory of a release's modules in the one that was given.
func findModules(dir, release string) (string, error) {
	abs, err := filepath.Abs(dir) // "." has a name too
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(abs); err != nil {
		return "", err
	}
	candidates := []string{abs}
	for _, parent := range []string{filepath.Join(abs, "lib/modules"), filepath.Join(abs, "usr/lib/modules"), abs} {
		entries, err := os.ReadDir(parent)
		if err != nil {
			continue // one of the three has to do
		}
		for _, e := range entries {
			candidates = append(candidates, filepath.Join(parent, e.Name()))
		}
	}
	var others []string
	for _, d := range candidates {
		fi, err := os.Stat(filepath.Join(d, "kernel"))
		if _, builtinErr := os.Stat(filepath.Join(d, "modules.builtin")); err != nil || builtinErr != nil || !fi.IsDir() {
			continue
		}
		if filepath.Base(d) == release {
			return filepath.EvalSymlinks(d) // of a link nothing would be copied
		}
		others = append(others, filepath.Base(d))
	}
	hint := ""
	if len(others) > 0 {
		slices.Sort(others)
		hint = "; it has those of " + strings.Join(slices.Compact(others), ", ")
	}
	return "", fmt.Errorf("no modules of kernel %s: no kernel/ and modules.builtin in lib/modules/%s or %s%s", release, release, release, hint)
}

func copyModules(ctx context.Context, run *tool.Runner, from, to string) error {
	return filepath.WalkDir(from, func(name string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		base := filepath.Base(rel)
		if !isModule(base) && base != "modules.builtin" && base != "modules.builtin.modinfo" && base != "modules.order" {
			return nil
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // read only
		return store(ctx, run, filepath.Join(to, rel), f)
	})
}

// findConfig looks for the configuration of k, "" when there is none. What the kernel
// carries itself is surely its own; then come the places of distributions, and at last
// the build trees, if the last build in them had this release.
func findConfig(ctx context.Context, run *tool.Runner, image io.ReaderAt, k Kernel, modules, source string) (string, error) {
	inside := configInImage(ctx, run, image)
	if inside == nil { // CONFIG_IKCONFIG=m
		module, err := os.ReadFile(filepath.Join(k.ModulesDir(), "kernel/kernel/configs.ko"))
		if err == nil {
			inside = cutConfig(module)
		}
	}
	if inside != nil {
		file := filepath.Join(k.Modules, "config.gz")
		return file, os.WriteFile(file, inside, 0o644)
	}
	beside := filepath.Dir(k.Image)
	for _, file := range []string{
		filepath.Join(beside, "config-"+k.Release),
		filepath.Join(modules, "boot/config-"+k.Release), // an unpacked package
		filepath.Join(source, "config"),                  // Fedora
	} {
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() {
			return file, nil
		}
	}
	for _, tree := range []string{filepath.Join(beside, "../../.."), filepath.Join(source, "build")} { // of arch/x86/boot, and of modules_install
		built, err := os.ReadFile(filepath.Join(tree, "include/config/kernel.release"))
		if err != nil || strings.TrimSpace(string(built)) != k.Release {
			continue
		}
		if fi, err := os.Stat(filepath.Join(tree, ".config")); err == nil && fi.Mode().IsRegular() {
			return filepath.Join(tree, ".config"), nil
		}
	}
	return "", nil
}
