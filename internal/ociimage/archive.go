package ociimage

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is the image's file system as a tar: sorted, owned by root, of one
// time, parents before children.
func (im image) layer(when time.Time) ([]byte, error) {
	all := make(map[string]file)
	for _, f := range im.files {
		if _, twice := all[f.path]; twice {
			return nil, fmt.Errorf("%s is there twice", f.path)
		}
		all[f.path] = f
	}
	for _, f := range im.files {
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			if _, there := all[dir]; !there {
				all[dir] = file{path: dir, mode: 0o755, dir: true}
			}
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := all[name].writeTo(w, when); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(append(problems, w.Close())...); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func (f file) writeTo(w *tar.Writer, when time.Time) error {
	h := &tar.Header{Name: f.path, Mode: int64(f.mode.Perm()), ModTime: when, Format: tar.FormatUSTAR}
	if f.mode&fs.ModeSticky != 0 {
		h.Mode |= 0o1000
	}
	body := []byte(f.body)
	switch {
	case f.dir:
		h.Typeflag, h.Name = tar.TypeDir, f.path+"/"
	case f.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
	case f.source != "":
		var err error
		if body, err = readStatic(f.source); err != nil {
			return err
		}
	}
	h.Size = int64(len(body))
	if err := w.WriteHeader(h); err != nil {
		return fmt.Errorf("layer entry %s: %w", f.path, err)
	}
	_, err := w.Write(body)
	return err
}

// readStatic reads a program and makes sure that it needs no loader: the images
// hold no library, and the kernel's answer would be "no such file" at run time.
func readStatic(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	prog, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s is not a program: %w", name, err)
	}
	defer prog.Close()
	if slices.ContainsFunc(prog.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil, fmt.Errorf("%s is dynamically linked, a static one is needed", name)
	}
	return data, nil
}

// assemble makes an OCI image of one layer.
func assemble(layer []byte, config v1.Config, o Options) (v1.Image, error) {
	im := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	im, err := mutate.ConfigFile(im, &v1.ConfigFile{
		Architecture: o.Arch,
		OS:           "linux",
		Created:      v1.Time{Time: o.Time.UTC()},
		Config:       config,
		RootFS:       v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(im, mutate.Addendum{
		Layer:   static.NewLayer(layer, types.OCIUncompressedLayer),
		History: v1.History{Created: v1.Time{Time: o.Time.UTC()}, CreatedBy: "kubesolo-os"},
	})
}

// encodeArchive gives an image as the tar of an OCI image layout (image-spec
// v1.1) whose index has one descriptor for each reference, and the digest of
// its manifest.
func encodeArchive(im v1.Image, refs []string, o Options) (archive []byte, digest string, err error) {
	manifest, err := im.RawManifest()
	if err != nil {
		return nil, "", err
	}
	config, err := im.RawConfigFile()
	if err != nil {
		return nil, "", err
	}
	blobs := [][]byte{manifest, config}
	layers, err := im.Layers()
	if err != nil {
		return nil, "", err
	}
	for _, l := range layers {
		r, err := l.Compressed() // as it is stored: not compressed
		if err != nil {
			return nil, "", err
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			return nil, "", err
		}
		blobs = append(blobs, b.Bytes())
	}
	hash, err := im.Digest()
	if err != nil {
		return nil, "", err
	}
	index, err := encodeIndex(hash, int64(len(manifest)), refs, o.Arch)
	if err != nil {
		return nil, "", err
	}
	files := map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": index,
	}
	for _, b := range blobs {
		h, _, err := v1.SHA256(bytes.NewReader(b))
		if err != nil {
			return nil, "", err
		}
		files["blobs/sha256/"+h.Hex] = b
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := file{path: name, mode: 0o644, body: string(files[name])}
		if err := f.writeTo(w, o.Time); err != nil {
			return nil, "", err
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	return out.Bytes(), hash.String(), nil
}

func encodeIndex(manifest v1.Hash, size int64, refs []string, arch string) ([]byte, error) {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, ref := range refs {
		index.Manifests = append(index.Manifests, v1.Descriptor{
			MediaType: types.OCIManifestSchema1,
			Size:      size,
			Digest:    manifest,
			Platform:  &v1.Platform{OS: "linux", Architecture: arch},
			Annotations: map[string]string{
				// What containerd names the image; the other is the specification's,
				// and only a tag.
				"io.containerd.image.name":          ref,
				"org.opencontainers.image.ref.name": ref[strings.LastIndex(ref, ":")+1:],
			},
		})
	}
	return json.Marshal(index)
}
