package base

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"kubesolo.io/os/internal/image/elfcheck"
	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/image/tree"
)

// privateDir holds loader and libraries of our dynamic programs on a base that brings
// its own C library.
const privateDir = "usr/lib/kubesolo/lib"

// program is a dynamic program that KubeSolo or the kubelet executes by name.
type program struct {
	pkg  string
	from []string // where Debian 12 and 13 have it
	to   string
}

// programs lists them. nft: pod masquerade, kube-proxy, CNI portmap. mount and umount
// are util-linux's: the kubelet calls them with --no-canonicalize for subPath volumes,
// which busybox's refuse.
func programs() []program {
	return []program{
		{"nftables", []string{"usr/sbin/nft"}, "usr/sbin/nft"},
		{"mount", []string{"bin/mount", "usr/bin/mount"}, "bin/mount"},
		{"mount", []string{"bin/umount", "usr/bin/umount"}, "bin/umount"},
	}
}

// Programs adds the dynamic programs with the libraries they need, all of one Debian
// release. On a foreign base (one with its own C library) libraries and loader go under
// /usr/lib/kubesolo/lib and the programs are patched to use only those.
func Programs(ctx context.Context, d inputs.Debian, t *tree.Tree, foreign bool, scratch string, lock *inputs.Lock) error {
	names, err := d.Closure(ctx, "nftables", "mount", "e2fsck-static")
	if err != nil {
		return err
	}
	packages, err := d.Fetch(ctx, names...)
	if err != nil {
		return err
	}
	pool, err := unpack(ctx, d, packages)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	if err := addStatic(pool, t, "sbin/e2fsck.static", "usr/sbin/e2fsck"); err != nil {
		return err
	}
	used["e2fsck-static"] = true
	for _, p := range programs() {
		from := ""
		for _, candidate := range p.from {
			if pool.Get(candidate) != nil {
				from = candidate
				break
			}
		}
		if from == "" {
			return fmt.Errorf("debian package %s: no %s in it", p.pkg, path.Base(p.to))
		}
		used[p.pkg] = true
		if err := addProgram(ctx, d.Run, pool, t, from, p.to, foreign, scratch, used); err != nil {
			return fmt.Errorf("program %s: %w", p.to, err)
		}
	}
	for _, p := range packages {
		if used[p.Name] {
			lock.Add(p.Input)
		}
	}
	return nil
}

// addStatic adds a program that needs no library: ksinit runs it before there
// is anything else, on every base.
func addStatic(pool, t *tree.Tree, from, to string) error {
	file := pool.Get(from)
	if file == nil {
		file = pool.Get("usr/" + from)
	}
	if file == nil {
		return fmt.Errorf("debian packages: no %s in them", from)
	}
	t.Remove(to) // the base's own link
	return t.File(to, 0o755, file.Data, "userland")
}

func addProgram(ctx context.Context, run *tool.Runner, pool, t *tree.Tree, from, to string, foreign bool,
	scratch string, used map[string]bool) error {
	loader, libraries, err := elfcheck.Needs(pool, from)
	if err != nil {
		return err
	}
	binary := pool.Get(from).Data
	libDir, loaderPath := "lib/x86_64-linux-gnu", "lib64/ld-linux-x86-64.so.2"
	if foreign {
		libDir, loaderPath = privateDir, path.Join(privateDir, "ld-linux-x86-64.so.2")
		if binary, err = patch(ctx, run, pool, from, scratch); err != nil {
			return err
		}
	}
	t.Remove(to) // the base's own link
	if err := t.File(to, 0o755, binary, "userland"); err != nil {
		return err
	}
	add := func(file, at string, perm os.FileMode) error {
		n := pool.Get(file)
		used[n.Origin] = true
		if old := t.Get(at); old != nil {
			return nil // an earlier program brought it
		}
		return t.File(at, perm, n.Data, "userland")
	}
	if err := add(loader, loaderPath, 0o755); err != nil {
		return err
	}
	var names []string
	for name := range libraries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if libraries[name] == loader {
			continue
		}
		if err := add(libraries[name], path.Join(libDir, name), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// patch points a program to the private loader and libraries. DT_RPATH (not RUNPATH) is
// used because it holds for the libraries' own needs too.
func patch(ctx context.Context, run *tool.Runner, pool *tree.Tree, from, scratch string) (tree.Content, error) {
	b, err := pool.ReadFile(from)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(scratch, path.Base(from))
	if err := os.WriteFile(file, b, 0o755); err != nil {
		return nil, err
	}
	err = run.Run(ctx, tool.Command{Name: "patchelf", Args: []string{
		"--set-interpreter", "/" + path.Join(privateDir, "ld-linux-x86-64.so.2"),
		"--force-rpath", "--set-rpath", "/" + privateDir, file}})
	if errors.Is(err, tool.ErrMissing) {
		return nil, fmt.Errorf("%w; install it with: %s", err, tool.InstallCommand([]string{"patchelf"}))
	}
	if err != nil {
		return nil, err
	}
	patched, err := os.ReadFile(file)
	return tree.Bytes(patched), err
}
