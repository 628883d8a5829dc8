package source

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// What a repository is in a registry: one artifact (image-spec v1.1) for each
// tag, with a layer for each file, whose title (ocispec.AnnotationTitle) is the
// file's path in the repository.
const (
	ArtifactType      = "application/vnd.kubesolo.os.repository.v1"
	MediaTypeMetadata = "application/vnd.kubesolo.os.tuf.v1+json"
	MediaTypeSlot     = "application/vnd.kubesolo.os.slot.v1"
)

// maxManifest is the size up to which registries have to take a manifest
// (distribution-spec v1.1): some thousand files.
const maxManifest = 4 << 20

// OCIOptions say how a registry is reached, and whose artifacts are taken.
type OCIOptions struct {
	HTTPOptions
	// AuthFile is a docker configuration file (config.json) with the registry's
	// user and password or token, "" for none.
	AuthFile string
	// Keys: with any, the artifact must have a cosign signature by one of them.
	// What is in it is signed all the same.
	Keys []*ecdsa.PublicKey
}

// OCI is a repository that is an artifact in a registry.
type OCI struct {
	repository *remote.Repository
	login      doer
	keys       []*ecdsa.PublicKey

	mu       sync.Mutex
	layers   map[string]ocispec.Descriptor // by title, of the artifact seen last
	verified digest.Digest                 // of the artifact whose signature was
}

var _ Source = (*OCI)(nil)

// NewOCI takes HOST[:PORT]/REPOSITORY:TAG, with a digest instead of the tag
// for an artifact that stays the same. TLS is used unless http:// stands before
// it or the host is this machine.
func NewOCI(reference string, o OCIOptions) (*OCI, error) {
	repository, err := Connect(reference, o)
	if err != nil {
		return nil, err
	}
	if repository.Reference.Reference == "" {
		return nil, fmt.Errorf("%s names no artifact: write %s:TAG, with the channel as the tag", reference, reference)
	}
	return &OCI{repository: repository, login: repository.Client, keys: o.Keys}, nil
}

// String is the reference.
func (o *OCI) String() string { return "oci://" + o.repository.Reference.String() }

// Metadata reads the layer titled metadata/name. The tag is looked up again
// each time, since that is where news comes from.
func (o *OCI) Metadata(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	data, err := o.metadata(ctx, metadataDir+"/"+name, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %s/%s: %w", o, metadataDir, name, err)
	}
	return data, nil
}

func (o *OCI) metadata(ctx context.Context, title string, limit int64) ([]byte, error) {
	layers, err := o.artifact(ctx)
	if err != nil {
		return nil, err
	}
	layer, ok := layers[title]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return o.blob(ctx, layer, limit)
}

// Target opens the layer titled targets/name at offset.
func (o *OCI) Target(ctx context.Context, name string, size, offset int64) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	body, err := o.target(ctx, targetsDir+"/"+name, size, offset)
	if err != nil {
		return nil, fmt.Errorf("%s: %s/%s: %w", o, targetsDir, name, err)
	}
	return body, nil
}

func (o *OCI) target(ctx context.Context, title string, size, offset int64) (io.ReadCloser, error) {
	// A download goes on with the layer it began with, wherever the tag points
	// by then.
	o.mu.Lock()
	layer, ok := o.layers[title]
	o.mu.Unlock()
	if !ok {
		layers, err := o.artifact(ctx)
		if err != nil {
			return nil, err
		}
		if layer, ok = layers[title]; !ok {
			return nil, fs.ErrNotExist
		}
	}
	if layer.Size != size {
		return nil, fmt.Errorf("the registry has %d bytes of it, not %d: %w", layer.Size, size, ErrLength)
	}
	request, err := o.blobRequest(ctx, layer.Digest)
	if err != nil {
		return nil, err
	}
	body, err := openRange(o.login, request, size, offset)
	if err != nil {
		return nil, registryError(err)
	}
	return body, nil
}

// artifact reads the manifest that the tag points to now.
func (o *OCI) artifact(ctx context.Context) (map[string]ocispec.Descriptor, error) {
	found, text, err := o.manifest(ctx, o.repository.Reference.Reference)
	if err != nil {
		return nil, err
	}
	layers, err := parseArtifact(found.MediaType, text)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	verified := o.verified
	o.mu.Unlock()
	if len(o.keys) > 0 && verified != found.Digest {
		if err := o.verify(ctx, found.Digest); err != nil {
			return nil, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.layers, o.verified = layers, found.Digest
	return layers, nil
}

// manifest reads one that has the digest which the registry, or the reference,
// gives it.
func (o *OCI) manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	found, body, err := o.repository.FetchReference(ctx, reference)
	if err != nil {
		return found, nil, registryError(err)
	}
	defer body.Close()
	if found.Size > maxManifest {
		return found, nil, fmt.Errorf("manifest: %w", errTooLong(maxManifest))
	}
	text, err := content.ReadAll(body, found)
	if err != nil {
		return found, nil, fmt.Errorf("manifest: %w", err)
	}
	return found, text, nil
}

// parseArtifact gives the layers of an artifact of ours by title.
func parseArtifact(mediaType string, text []byte) (map[string]ocispec.Descriptor, error) {
	if mediaType != ocispec.MediaTypeImageManifest {
		return nil, fmt.Errorf("it is no update repository, but %.100q: %w", mediaType, ErrRefused)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("manifest: %v: %w", err, ErrRefused)
	}
	if manifest.ArtifactType != ArtifactType {
		return nil, fmt.Errorf("it is no update repository, but an artifact of type %.100q: %w", manifest.ArtifactType, ErrRefused)
	}
	layers := map[string]ocispec.Descriptor{}
	for _, layer := range manifest.Layers {
		title := layer.Annotations[ocispec.AnnotationTitle]
		if _, twice := layers[title]; twice {
			return nil, fmt.Errorf("manifest: two layers are titled %.300q: %w", title, ErrRefused)
		}
		if layer.Digest.Validate() != nil || layer.Digest.Algorithm() != digest.SHA256 || layer.Size < 0 {
			return nil, fmt.Errorf("manifest: the layer titled %.300q has no SHA-256 digest and size: %w", title, ErrRefused)
		}
		layers[title] = layer
	}
	return layers, nil
}

// blob reads a small one whole.
func (o *OCI) blob(ctx context.Context, layer ocispec.Descriptor, limit int64) ([]byte, error) {
	if layer.Size > limit {
		return nil, errTooLong(limit)
	}
	request, err := o.blobRequest(ctx, layer.Digest)
	if err != nil {
		return nil, err
	}
	body, err := openRange(o.login, request, layer.Size, 0)
	if err != nil {
		return nil, registryError(err)
	}
	defer body.Close()
	return content.ReadAll(body, layer)
}

// blobRequest is made here, as oras would not look at which part of the blob
// it is that comes.
func (o *OCI) blobRequest(ctx context.Context, id digest.Digest) (*http.Request, error) {
	scheme, where := "https", o.repository.Reference
	if o.repository.PlainHTTP {
		scheme = "http"
	}
	ctx = auth.AppendRepositoryScope(ctx, where, auth.ActionPull)
	return http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("%s://%s/v2/%s/blobs/%s", scheme, where.Host(), where.Repository, id), nil)
}

// verify looks for a signature of the artifact by one of the keys.
func (o *OCI) verify(ctx context.Context, artifact digest.Digest) error {
	tag := CosignTag(artifact)
	_, text, err := o.manifest(ctx, tag)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the artifact %s has no cosign signature: %w", artifact, ErrRefused)
	} else if err != nil {
		return fmt.Errorf("cosign signature: %w", err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return fmt.Errorf("manifest of the cosign signature: %v: %w", err, ErrRefused)
	}
	problem := errors.New("its manifest has none")
	for _, layer := range manifest.Layers[:min(len(manifest.Layers), maxSignatures)] {
		payload, err := o.blob(ctx, layer, maxPayload)
		if err == nil {
			err = VerifyCosign(o.keys, artifact, payload, layer.Annotations[CosignAnnotation])
		}
		if err == nil {
			return nil
		}
		problem = err
	}
	return fmt.Errorf("the artifact %s has no good cosign signature: %w", artifact, problem)
}
