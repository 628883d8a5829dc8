package updatepush

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"kubesolo.io/os/internal/update/source"
)

// ParseKey reads a private key of ECDSA on P-256: PEM, PKCS 8 or SEC 1, without
// a password. cosign import-key-pair makes one of cosign's out of it.
func ParseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not a private key in PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%q is no private key without a password; make one with: openssl ecparam -name prime256v1 -genkey", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	if key, ok := key.(*ecdsa.PrivateKey); ok && key.Curve == elliptic.P256() {
		return key, nil
	}
	return nil, fmt.Errorf("the private key is not of ECDSA on P-256 but %T", key)
}

// sign puts a signature of the artifact beside it, as cosign does, and keeps
// those of other keys that are there.
func sign(ctx context.Context, to oras.Target, name string, artifact digest.Digest, key *ecdsa.PrivateKey) error {
	tag := source.CosignTag(artifact)
	layers, err := signatures(ctx, to, tag)
	if err != nil {
		return err
	}
	for _, layer := range layers {
		payload, err := content.FetchAll(ctx, to, layer)
		if err != nil {
			return err
		}
		if source.VerifyCosign([]*ecdsa.PublicKey{&key.PublicKey}, artifact, payload, layer.Annotations[source.CosignAnnotation]) == nil {
			return nil
		}
	}
	layer, err := pushSignature(ctx, to, name, artifact, key)
	if err != nil {
		return err
	}
	layers = append(layers, layer)
	config, err := pushConfig(ctx, to, layers)
	if err != nil {
		return err
	}
	manifest, err := oras.PackManifest(ctx, to, oras.PackManifestVersion1_1, "", oras.PackManifestOptions{
		Layers:           layers,
		ConfigDescriptor: &config,
		// Not now: a signature has no time of its own that would be proved.
		ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: "1970-01-01T00:00:00Z"},
	})
	if err != nil {
		return err
	}
	return to.Tag(ctx, manifest, tag)
}

// signatures are the layers that are there.
func signatures(ctx context.Context, to oras.Target, tag string) ([]ocispec.Descriptor, error) {
	found, err := to.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	text, err := content.FetchAll(ctx, to, found)
	if err != nil {
		return nil, err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", tag, err)
	}
	return manifest.Layers, nil
}

func pushSignature(ctx context.Context, to oras.Target, name string, artifact digest.Digest, key *ecdsa.PrivateKey) (ocispec.Descriptor, error) {
	var payload source.CosignPayload
	payload.Critical.Identity.Reference = name
	payload.Critical.Image.Digest = artifact.String()
	payload.Critical.Type = source.CosignType
	text, err := json.Marshal(payload)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	sum := sha256.Sum256(text)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	layer, err := pushBytes(ctx, to, source.CosignMediaType, text)
	layer.Annotations = map[string]string{source.CosignAnnotation: base64.StdEncoding.EncodeToString(signature)}
	return layer, err
}

// pushConfig gives the signatures the configuration of an image, which cosign
// takes them for.
func pushConfig(ctx context.Context, to oras.Target, layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	var image ocispec.Image
	image.RootFS.Type = "layers"
	for _, layer := range layers {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, layer.Digest)
	}
	text, err := json.Marshal(image)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return pushBytes(ctx, to, ocispec.MediaTypeImageConfig, text)
}

func pushBytes(ctx context.Context, to oras.Target, mediaType string, text []byte) (ocispec.Descriptor, error) {
	blob := content.NewDescriptorFromBytes(mediaType, text)
	there, err := to.Exists(ctx, blob)
	if err == nil && !there {
		_, err = oras.PushBytes(ctx, to, mediaType, text)
	}
	return blob, err
}
