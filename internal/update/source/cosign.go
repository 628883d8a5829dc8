package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// How cosign keeps a signature beside an artifact: as the artifact with the tag
// of CosignTag, each layer of which is a payload ("simple signing") that names
// the digest, with the signature of the payload in an annotation.
const (
	CosignMediaType  = "application/vnd.dev.cosign.simplesigning.v1+json"
	CosignAnnotation = "dev.cosignproject.cosign/signature"
	CosignType       = "cosign container image signature"
)

const (
	// maxSignatures bounds what a registry can make a node read.
	maxSignatures = 32
	maxPayload    = 64 << 10
)

// CosignPayload is what is signed, in JSON.
type CosignPayload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// CosignTag is the tag of the signatures of the artifact with a digest.
func CosignTag(artifact digest.Digest) string {
	return strings.ReplaceAll(artifact.String(), ":", "-") + ".sig"
}

// ParseCosignKey reads a public key as cosign writes it: PEM, ECDSA, P-256.
func ParseCosignKey(text []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("not a public key in PEM, as cosign.pub is")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if key, ok := key.(*ecdsa.PublicKey); ok && key.Curve == elliptic.P256() {
		return key, nil
	}
	return nil, fmt.Errorf("the public key is not of ECDSA on P-256 but %T: make one with cosign generate-key-pair", key)
}

// VerifyCosign checks that one of the keys signed the payload (ECDSA over
// SHA-256, ASN.1, base64), and that the payload is about the artifact. Errors
// wrap ErrRefused.
func VerifyCosign(keys []*ecdsa.PublicKey, artifact digest.Digest, payload []byte, signature string) error {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(raw) == 0 {
		return fmt.Errorf("the signature is not base64: %w", ErrRefused)
	}
	sum := sha256.Sum256(payload)
	good := false
	for _, key := range keys {
		good = good || ecdsa.VerifyASN1(key, sum[:], raw)
	}
	if !good {
		return fmt.Errorf("the signature is not of a key that we know: %w", ErrRefused)
	}
	var said CosignPayload
	if err := json.Unmarshal(payload, &said); err != nil {
		return fmt.Errorf("what is signed is not JSON: %v: %w", err, ErrRefused)
	}
	if said.Critical.Type != CosignType || said.Critical.Image.Digest != artifact.String() {
		return fmt.Errorf("what is signed is another artifact, %.100q: %w", said.Critical.Image.Digest, ErrRefused)
	}
	return nil
}
