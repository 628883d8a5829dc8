// Package components is the list of programs that the image builds from
// source besides our own: containerd and its shim, runc, the CNI plugins,
// CoreDNS, the local-path provisioner, and the pause program of pods.
//
// It owns which programs there are and how each is built: the data is
// components.json, the versions and checksums are pinned by the go.mod and
// go.sum of the nested module that each entry names. It never runs a program;
// [Component.Command] returns a command line and environment, to be run by the
// image builder with components/ as the working directory.
//
// It is tested by checking the table against the nested modules, and by
// building and running pause.
package components

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed components.json
var table []byte

// Component is one build: one or more programs of one Go module, or one C
// program.
type Component struct {
	// Name is unique in the table.
	Name string `json:"name"`
	// Module, Version and Licence (an SPDX expression) describe the upstream
	// module for the lock file and the bill of materials. Version equals what
	// go.mod in Dir requires.
	Module  string `json:"module"`
	Version string `json:"version"`
	Licence string `json:"licence"`
	// Dir is the nested module to build in, relative to components/.
	Dir string `json:"dir"`
	// Packages are the Go packages to build, Outputs the file names that
	// `go build -o DIR/` gives them, in the same order. A C program has
	// Sources (in Dir) instead, and one output.
	Packages []string `json:"packages,omitempty"`
	Sources  []string `json:"sources,omitempty"`
	Outputs  []string `json:"outputs"`
	// Tags are Go build tags.
	Tags []string `json:"tags,omitempty"`
	// GCFlags are compiler flags. "all=-l" leaves functions where they are
	// called from: the local-path provisioner is then 18 % smaller (9.5 to
	// 7.8 MB, zstd -19), which is worth more here than its speed.
	GCFlags string `json:"gcflags,omitempty"`
	// Cgo: calls C. The result is static in every case.
	Cgo bool `json:"cgo,omitempty"`
	// Debian are the Debian packages that the build needs besides Go.
	Debian []string `json:"debian,omitempty"`
	// Vars are string variables to set with the linker's -X.
	Vars map[string]string `json:"vars,omitempty"`
	// Install is the directory of the outputs in the system root; empty when
	// they only go into container images.
	Install string `json:"install,omitempty"`
}

// All returns every component in the order of the table.
func All() ([]Component, error) {
	return parse(table)
}

func parse(data []byte) ([]Component, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var all []Component
	if err := dec.Decode(&all); err != nil {
		return nil, fmt.Errorf("components.json: %w", err)
	}
	names := make(map[string]bool)
	for _, c := range all {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("components.json: component %q: %w", c.Name, err)
		}
		for _, name := range append([]string{"component " + c.Name}, c.Outputs...) {
			if names[name] {
				return nil, fmt.Errorf("components.json: %s is there twice", name)
			}
			names[name] = true
		}
	}
	return all, nil
}

func (c Component) check() error {
	switch {
	case c.Name == "" || c.Module == "" || c.Version == "" || c.Licence == "":
		return errors.New("name, module, version and licence must be set")
	case !filepath.IsLocal(c.Dir):
		return fmt.Errorf("dir %q is not below components/", c.Dir)
	case (len(c.Packages) == 0) == (len(c.Sources) == 0):
		return errors.New("needs either packages or sources")
	case len(c.Sources) == 0 && len(c.Packages) != len(c.Outputs), len(c.Sources) > 0 && len(c.Outputs) != 1:
		return fmt.Errorf("%d packages but %d outputs", len(c.Packages), len(c.Outputs))
	case (c.Cgo || len(c.Sources) > 0) && len(c.Debian) == 0:
		return errors.New("compiles C but names no Debian package with a compiler")
	}
	return nil
}

// Command returns the command line and the environment variables to add that
// build c into the existing directory out (absolute). The programs are static,
// stripped, and free of build paths, so that the same toolchain makes the same
// bytes from any checkout. The working directory must be components/.
func (c Component) Command(out string) (argv, env []string) {
	if len(c.Sources) > 0 {
		return c.compile(out), nil
	}
	ldflags := []string{"-s", "-w"}
	for name, value := range c.Vars {
		ldflags = append(ldflags, "-X "+name+"="+value)
	}
	slices.Sort(ldflags[2:]) // a map has no order, the build's cache key has
	env = []string{"CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off"}
	if c.Cgo {
		env[0] = "CGO_ENABLED=1"
		ldflags = append(ldflags, "-linkmode external", `-extldflags "-static -Wl,--build-id=none"`)
	}
	argv = []string{
		"go", "build", "-C", c.Dir, "-trimpath", "-buildvcs=false", "-mod=readonly",
		"-tags", strings.Join(c.Tags, ","),
		"-ldflags", strings.Join(ldflags, " "),
		"-o", strings.TrimSuffix(out, "/") + "/",
	}
	if c.GCFlags != "" {
		argv = append(argv, "-gcflags", c.GCFlags)
	}
	return append(argv, c.Packages...), env
}

// compile is the command for a C program without a C library: one read-only
// segment, no unwind tables, no start files.
func (c Component) compile(out string) []string {
	argv := []string{
		"gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Os",
		"-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie",
		"-fno-stack-protector", "-fno-asynchronous-unwind-tables",
		"-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,noexecstack",
		"-o", filepath.Join(out, c.Outputs[0]),
	}
	for _, source := range c.Sources {
		argv = append(argv, filepath.Join(c.Dir, source))
	}
	return argv
}
