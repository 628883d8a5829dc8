package small

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/kmod"
	"kubesolo.io/os/internal/vmtest"
)

// kernel is an unpacked kernel package with depmod's files.
type kernel struct {
	Image   string // vmlinuz
	Root    string // holds lib/modules/Release
	Release string
}

// run runs a program of the host and gives its output.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var errText strings.Builder
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errText.String())
	}
	return string(out)
}

func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// findKernel gives the kernel package that the image uses, the one in
// build/cache if it is there. It is unpacked once, under build/small.
func findKernel(t *testing.T) kernel {
	t.Helper()
	root := repository(t)
	cache := filepath.Join(root, "build", "cache", "debian")
	pattern := filepath.Join(cache, "linux-image-[0-9]*_amd64.deb")
	debs, _ := filepath.Glob(pattern)
	if len(debs) == 0 {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, cache, "apt-get", "download", kernelPackage(run(t, cache, "apt-cache", "depends", "linux-image-amd64")))
		if debs, _ = filepath.Glob(pattern); len(debs) == 0 {
			t.Fatalf("no kernel package: no %s after apt-get download", pattern)
		}
	}
	slices.SortFunc(debs, func(a, b string) int { return modified(t, a).Compare(modified(t, b)) })
	deb := debs[len(debs)-1]
	dir := filepath.Join(root, "build", "small", strings.TrimSuffix(filepath.Base(deb), ".deb"))
	if _, err := os.Stat(filepath.Join(dir, "done")); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, root, "dpkg-deb", "-x", deb, dir)
		run(t, root, "depmod", "-b", dir, release(t, dir))
		if err := os.WriteFile(filepath.Join(dir, "done"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := release(t, dir)
	k := kernel{Image: filepath.Join(dir, "boot", "vmlinuz-"+r), Root: dir, Release: r}
	if err := vmtest.SettleAccelerator(t.Context(), k.Image); err != nil {
		t.Fatal(err)
	}
	return k
}

// kernelPackage reads the concrete package out of `apt-cache depends`.
func kernelPackage(depends string) string {
	for line := range strings.Lines(depends) {
		if _, name, ok := strings.Cut(line, "Depends: "); ok {
			return strings.TrimSpace(name)
		}
	}
	return "linux-image-amd64"
}

func release(t *testing.T, dir string) string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(dir, "lib", "modules", "*"))
	if len(found) != 1 {
		t.Fatalf("%s/lib/modules: %v, want one kernel", dir, found)
	}
	return filepath.Base(found[0])
}

// subset copies the named modules with all they need into a new tree.
func (k kernel) subset(t *testing.T, names []string) string {
	t.Helper()
	tree, err := kmod.Open(k.Root, k.Release)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	modules := filepath.Join("lib", "modules", k.Release)
	files := []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"}
	for _, name := range names {
		plan, err := tree.Plan(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range plan {
			rel, err := filepath.Rel(filepath.Join(k.Root, modules), path)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, rel)
		}
	}
	for _, f := range files {
		copyFile(t, filepath.Join(k.Root, modules, f), filepath.Join(dir, modules, f), 0o644)
	}
	run(t, dir, "depmod", "-b", dir, k.Release)
	return dir
}

func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}
