// Package updatepush puts an update repository into a container registry, or
// into an OCI layout for a medium that brings it to one.
//
// It owns the form of the artifact, which package update/source reads, and of
// its cosign signature. It never makes or signs metadata, never removes
// anything, and moves a tag only when all that it names is there, the signature
// included: a node that looks in between sees the old artifact. The same files
// and time give the same artifact. It runs on the build host only, and is tested
// against a real registry.
package updatepush

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"

	"kubesolo.io/os/internal/update/source"
)

// Options say what goes where.
type Options struct {
	// Dir is the repository: the directory with metadata and targets.
	Dir string
	// Reference is HOST[:PORT]/REPOSITORY:TAG (plain HTTP only with http://
	// before it, or on this machine), or oci:DIRECTORY:TAG for an OCI layout.
	Reference string
	// Registry says how it is reached. Its Keys are not used.
	Registry source.OCIOptions
	// Key signs the artifact as cosign does (ECDSA on P-256); nil for not.
	Key *ecdsa.PrivateKey
	// Created is the time that the artifact says (SOURCE_DATE_EPOCH).
	Created time.Time
	// Progress is told each file; sent is false for one that was there. It may
	// be nil.
	Progress func(file string, size int64, sent bool)
}

// Push makes the artifact, and returns the digest of its manifest.
func Push(ctx context.Context, o Options) (digest.Digest, error) {
	id, err := o.push(ctx)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", o.Dir, err)
	}
	return id, nil
}

func (o Options) push(ctx context.Context) (digest.Digest, error) {
	to, name, tag, err := o.open()
	if err != nil {
		return "", err
	}
	layers, err := o.layers()
	if err != nil {
		return "", err
	}
	for _, layer := range layers {
		if err := o.pushFile(ctx, to, layer); err != nil {
			return "", err
		}
	}
	artifact, err := oras.PackManifest(ctx, to, oras.PackManifestVersion1_1, source.ArtifactType, oras.PackManifestOptions{
		Layers:              layers,
		ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: o.Created.UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	if o.Key != nil {
		if err := sign(ctx, to, name, artifact.Digest, o.Key); err != nil {
			return "", fmt.Errorf("signature: %w", err)
		}
	}
	if err := to.Tag(ctx, artifact, tag); err != nil {
		return "", fmt.Errorf("tag %s: %w", tag, err)
	}
	return artifact.Digest, nil
}

// open gives the place, its name in signatures, and the tag.
func (o Options) open() (to oras.Target, name, tag string, err error) {
	if layout, ok := strings.CutPrefix(o.Reference, "oci:"); ok && !strings.HasPrefix(layout, "//") {
		i := strings.LastIndexByte(layout, ':')
		if i <= 0 || i == len(layout)-1 || strings.ContainsRune(layout[i:], '/') {
			return nil, "", "", fmt.Errorf("%q names no artifact: write oci:DIRECTORY:TAG", o.Reference)
		}
		store, err := oci.New(layout[:i])
		return store, filepath.Base(layout[:i]), layout[i+1:], err
	}
	repository, err := source.Connect(o.Reference, o.Registry)
	if err != nil {
		return nil, "", "", err
	}
	where := repository.Reference
	if _, err := where.Digest(); err == nil || where.Reference == "" {
		return nil, "", "", fmt.Errorf("%s has no tag: write HOST/REPOSITORY:TAG, with the channel as the tag", where)
	}
	return repository, where.Registry + "/" + where.Repository, where.Reference, nil
}

// layers describes each file of the repository, sorted by path.
func (o Options) layers() ([]ocispec.Descriptor, error) {
	var layers []ocispec.Descriptor
	for _, dir := range []struct{ name, mediaType string }{
		{"metadata", source.MediaTypeMetadata},
		{"targets", source.MediaTypeSlot},
	} {
		entries, err := os.ReadDir(filepath.Join(o.Dir, dir.name))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			title := dir.name + "/" + entry.Name()
			if !entry.Type().IsRegular() {
				return nil, fmt.Errorf("%s is not a file (%v)", title, entry.Type())
			}
			layer, err := describe(filepath.Join(o.Dir, title))
			if err != nil {
				return nil, err
			}
			layer.MediaType = dir.mediaType
			layer.Annotations = map[string]string{ocispec.AnnotationTitle: title}
			layers = append(layers, layer)
		}
	}
	for _, layer := range layers {
		if layer.Annotations[ocispec.AnnotationTitle] == "metadata/timestamp.json" {
			return layers, nil
		}
	}
	return nil, errors.New("metadata/timestamp.json is missing: this is no update repository")
}

func describe(name string) (ocispec.Descriptor, error) {
	f, err := os.Open(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	return ocispec.Descriptor{Digest: digest.NewDigest(digest.SHA256, hash), Size: size}, err
}

func (o Options) pushFile(ctx context.Context, to oras.Target, layer ocispec.Descriptor) error {
	title := layer.Annotations[ocispec.AnnotationTitle]
	there, err := to.Exists(ctx, layer)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	if !there {
		f, err := os.Open(filepath.Join(o.Dir, title))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := to.Push(ctx, layer, f); err != nil {
			return fmt.Errorf("%s: %w", title, err)
		}
	}
	if o.Progress != nil {
		o.Progress(title, layer.Size, !there)
	}
	return nil
}
