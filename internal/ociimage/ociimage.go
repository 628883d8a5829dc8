// Package ociimage builds the container images that the system root carries,
// as OCI archives, from programs that were built or packaged on this machine.
//
// It owns what is in each image (images.go) and the form of the archives. It
// pulls nothing, runs no container, and builds no program. Layers are not
// compressed, because the squashfs that holds the archives is. The same inputs
// and time give the same bytes.
//
// It is tested by building twice, by reading the archives back, and by package
// preload, which imports them into a real containerd.
package ociimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/imagelist"
)

// Entry is one line of images.json.
type Entry = imagelist.Entry

// Options says where the programs are and where the archives go.
type Options struct {
	// Bin is the directory with pause, coredns and local-path-provisioner, all
	// static (see package components).
	Bin string
	// Busybox is the path of a static busybox with a shell. It is run once, to
	// list its applets.
	Busybox string
	// Out is the directory for the archives and images.json. It is made if it
	// is not there; archives of the same name are replaced.
	Out string
	// Time is the time of every file and image, in whole seconds
	// (SOURCE_DATE_EPOCH).
	Time time.Time
	// Arch is a GOARCH value; "" means amd64.
	Arch string
}

// Build writes an archive for each image and the list of them, and returns the
// list. A program that is missing or not static is one error per program.
func Build(ctx context.Context, o Options) ([]Entry, error) {
	if o.Arch == "" {
		o.Arch = "amd64"
	}
	if o.Time.Unix() < 0 {
		return nil, errors.New("container images: the time is before 1970, set SOURCE_DATE_EPOCH")
	}
	applets, err := listApplets(ctx, o.Busybox)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, fmt.Errorf("container images: %w", err)
	}
	var entries []Entry
	var problems []error
	for _, im := range images(o, applets) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		built, err := buildOne(o, im)
		if err != nil {
			problems = append(problems, fmt.Errorf("container image %s: %w", im.refs[0], err))
			continue
		}
		entries = append(entries, built...)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	data, err := imagelist.Encode(entries)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Write(filepath.Join(o.Out, imagelist.FileName), data, 0o644); err != nil {
		return nil, err
	}
	return entries, nil
}

func buildOne(o Options, im image) ([]Entry, error) {
	layer, err := im.layer(o.Time)
	if err != nil {
		return nil, err
	}
	built, err := assemble(layer, im.config, o)
	if err != nil {
		return nil, err
	}
	archive, digest, err := encodeArchive(built, im.refs, o)
	if err != nil {
		return nil, err
	}
	name := im.name + ".tar"
	if err := atomicfile.Write(filepath.Join(o.Out, name), archive, 0o644); err != nil {
		return nil, err
	}
	var entries []Entry
	for _, ref := range im.refs {
		entries = append(entries, Entry{Ref: ref, File: name, Size: int64(len(archive)), Digest: digest})
	}
	return entries, nil
}

func listApplets(ctx context.Context, busybox string) ([]string, error) {
	out, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of busybox %s (Debian package busybox-static): %w", busybox, err)
	}
	applets := strings.Fields(string(out))
	for _, a := range applets {
		if a != filepath.Base(a) {
			return nil, fmt.Errorf("list the applets of busybox %s: %q is not a name", busybox, a)
		}
	}
	return applets, nil
}
