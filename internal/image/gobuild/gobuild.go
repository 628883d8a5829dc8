// Package gobuild builds the programs of the image from source: our own (ksinit,
// ksagent), the node engine (solonode), and those listed in components/.
//
// It owns which sources count as a program's input, so that an unchanged program is not
// linked again. Command lines of the components come from the components package. Tested
// with a tiny module of its own.
package gobuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kubesolo.io/os/components"
	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/stamp"
	"kubesolo.io/os/internal/image/tool"
)

// Program is one `go build`.
type Program struct {
	Name    string   // also the file name of the output
	Dir     string   // module directory
	Package string   // package to build, relative to Dir ("./cmd/ksinit")
	Vars    []string // name=value for the linker's -X
	GCFlags string   // for the compiler, of all packages
}

// Builder builds into Out.
type Builder struct {
	Run    *tool.Runner
	Stamps stamp.Store
	Out    string
	Lock   *inputs.Lock
}

// environment keeps what the caller's shell may set away from the compiler: the same
// sources give the same bytes. GOAMD64=v1 runs on every 64-bit x86.
func environment(added ...string) []string {
	return append([]string{"GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOEXPERIMENT=", "GOFLAGS=", "GOWORK=off"}, added...)
}

// Build builds p (static, stripped, without paths or version control stamps), unless its
// sources are those of the last time.
func (b Builder) Build(ctx context.Context, p Program) (string, error) {
	out, err := filepath.Abs(filepath.Join(b.Out, p.Name))
	if err != nil {
		return "", err
	}
	ldflags := []string{"-s", "-w"}
	for _, v := range p.Vars {
		ldflags = append(ldflags, "-X "+v)
	}
	args := []string{"build", "-C", p.Dir, "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-ldflags", strings.Join(ldflags, " "), "-o", out}
	if p.GCFlags != "" {
		args = append(args, "-gcflags", p.GCFlags)
	}
	args = append(args, p.Package)
	sources, err := b.sources(ctx, p)
	if err != nil {
		return "", fmt.Errorf("program %s: %w", p.Name, err)
	}
	key := stamp.Key(b.Run.Version("go"), strings.Join(args, "\n"), sources)
	if b.Stamps.Fresh("go-"+p.Name, key) {
		return out, b.lockModules(out)
	}
	if err := os.MkdirAll(b.Out, 0o755); err != nil {
		return "", err
	}
	err = b.Run.Run(ctx, tool.Command{Name: "go", Args: args, Env: environment("CGO_ENABLED=0")})
	if err != nil {
		return "", fmt.Errorf("program %s: %w", p.Name, err)
	}
	return out, errors.Join(b.Stamps.Done("go-"+p.Name, key, out), b.lockModules(out))
}

// sources hashes the module's requirements and the directories of all packages of this
// repository that the program is made of.
func (b Builder) sources(ctx context.Context, p Program) (string, error) {
	dir, err := filepath.Abs(p.Dir)
	if err != nil {
		return "", err
	}
	list, err := b.Run.Output(ctx, tool.Command{Name: "go", Env: environment("CGO_ENABLED=0"),
		Args: []string{"list", "-C", p.Dir, "-deps", "-f", "{{if not .Standard}}{{.Dir}}{{end}}", p.Package}})
	if err != nil {
		return "", err
	}
	paths := []string{filepath.Join(dir, "go.mod")}
	if sum := filepath.Join(dir, "go.sum"); exists(sum) {
		paths = append(paths, sum)
	}
	for line := range strings.Lines(string(list)) {
		if d := strings.TrimSpace(line); d == dir || strings.HasPrefix(d, dir+string(filepath.Separator)) {
			paths = append(paths, d)
		}
	}
	slices.Sort(paths)
	return stamp.KeyOfFiles(notSource(dir), slices.Compact(paths)...)
}

// notSource leaves out tests, golden files and, since each package directory is listed
// itself, directories; embedded files count because everything else does.
func notSource(module string) func(string, fs.DirEntry) bool {
	return func(name string, d fs.DirEntry) bool {
		base := filepath.Base(name)
		if d.IsDir() {
			return base == "testdata" || exists(filepath.Join(name, "go.mod")) || filepath.Dir(name) == module
		}
		return strings.HasSuffix(base, "_test.go")
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// ErrSource is wrapped when a program's source is not in the checkout.
var ErrSource = errors.New("source is not in this checkout")

// Components builds everything listed in components/ (directory dir) and returns the
// programs to install: path in the root -> host file.
func (b Builder) Components(ctx context.Context, dir string, progress func(name string)) (map[string]string, error) {
	all, err := components.All()
	if err != nil {
		return nil, err
	}
	out, err := filepath.Abs(b.Out)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	installed := map[string]string{}
	for _, c := range all {
		if err := b.component(ctx, c, dir, out, progress); err != nil {
			return nil, fmt.Errorf("component %s: %w", c.Name, err)
		}
		b.Lock.Add(inputs.Input{Name: c.Name, Kind: "component", Version: c.Version, Origin: c.Module})
		for _, o := range c.Outputs {
			if err := b.lockModules(filepath.Join(out, o)); err != nil {
				return nil, fmt.Errorf("component %s: %w", c.Name, err)
			}
			if c.Install != "" {
				installed[strings.TrimPrefix(filepath.Join(c.Install, o), "/")] = filepath.Join(out, o)
			}
		}
	}
	return installed, nil
}

func (b Builder) component(ctx context.Context, c components.Component, dir, out string, progress func(string)) error {
	argv, env := c.Command(out)
	sources, err := stamp.KeyOfFiles(func(name string, d fs.DirEntry) bool {
		return !d.IsDir() && strings.HasSuffix(name, "_test.go")
	}, filepath.Join(dir, c.Dir))
	if err != nil {
		return err
	}
	var outputs []string
	for _, o := range c.Outputs {
		outputs = append(outputs, filepath.Join(out, o))
	}
	key := stamp.Key(b.Run.Version(argv[0]), strings.Join(argv, "\n"), strings.Join(env, "\n"), sources)
	if b.Stamps.Fresh("component-"+c.Name, key) {
		return nil
	}
	progress(c.Name)
	err = b.Run.Run(ctx, tool.Command{Name: argv[0], Args: argv[1:], Dir: dir, Env: environment(env...)})
	if err != nil {
		return err
	}
	return b.Stamps.Done("component-"+c.Name, key, outputs...)
}

// HostNeeds are the programs and files (see tool.Missing) that the components' C code
// needs on the build host.
func HostNeeds() []string {
	return []string{"gcc", "pkg-config", "/usr/lib/x86_64-linux-gnu/libseccomp.a", "/usr/include/x86_64-linux-gnu/sys/types.h"}
}
