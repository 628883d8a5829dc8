package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Made by the packages signature and payload of sigstore v1.10.3, which cosign
// v2.6.5 signs with.
const (
	cosignKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpY8T99x9lbjTFbRi33sa4Xhl+GaU
u7BIa1J49F1czthuro0YoCp0dm1qWER2PSvh659oEyF+qOLCMRuZKzRvCA==
-----END PUBLIC KEY-----
`
	cosignPayload = `{"critical":{"identity":{"docker-reference":"registry.example/kubesolo-os"},"image":{"docker-manifest-digest":"sha256:` +
		`abababababababababababababababababababababababababababababababab"},"type":"cosign container image signature"},"optional":null}`
	cosignSignature = "MEUCIQCbzqe57jWKZwngzs7CKOgtxpuFqtmAUk2Kj2pWLcKSTAIgZex0H9MHeZLvS6LzpDPUI8R0Vl9SeQjpychWZeztJec="
)

func TestSignatureOfCosign(t *testing.T) {
	key, err := ParseCosignKey([]byte(cosignKey))
	if err != nil {
		t.Fatal(err)
	}
	artifact := digest.Digest("sha256:" + strings.Repeat("ab", 32))
	wantError(t, VerifyCosign([]*ecdsa.PublicKey{key}, artifact, []byte(cosignPayload), cosignSignature), nil, "")
	if tag := CosignTag(artifact); tag != "sha256-"+strings.Repeat("ab", 32)+".sig" {
		t.Errorf("tag %q", tag)
	}
}

func signed(t testing.TB, key *ecdsa.PrivateKey, payload string) (signature string) {
	t.Helper()
	sum := sha256.Sum256([]byte(payload))
	raw, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func TestVerifyCosign(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	artifact := digest.FromString("artifact")
	payload := func(kind, id string) string {
		return `{"critical":{"identity":{"docker-reference":"registry.example/os"},"image":{"docker-manifest-digest":"` + id + `"},"type":"` + kind + `"},"optional":null}`
	}
	good := payload(CosignType, artifact.String())
	for _, test := range []struct{ name, payload, signed, says string }{
		{"good", good, good, ""},
		{"changed", good + " ", good, "not of a key that we know"},
		{"other artifact", payload(CosignType, digest.FromString("x").String()), "", "another artifact"},
		{"other kind", payload("atomic container signature", artifact.String()), "", "another artifact"},
		{"empty", "{}", "", "another artifact"},
		{"no JSON", "hello", "", "not JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.signed == "" {
				test.signed = test.payload
			}
			err := VerifyCosign([]*ecdsa.PublicKey{&key.PublicKey}, artifact, []byte(test.payload), signed(t, key, test.signed))
			if test.says == "" {
				wantError(t, err, nil, "")
				return
			}
			wantError(t, err, ErrRefused, test.says)
		})
	}
	for signature, says := range map[string]string{"": "not base64", "!": "not base64", "AAAA": "not of a key"} {
		wantError(t, VerifyCosign([]*ecdsa.PublicKey{&key.PublicKey}, artifact, []byte(good), signature), ErrRefused, says)
	}
	wantError(t, VerifyCosign(nil, artifact, []byte(good), signed(t, key, good)), ErrRefused, "not of a key")
}

func TestParseCosignKey(t *testing.T) {
	encode := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseCosignKey(encode(&p256.PublicKey)); err != nil || !got.Equal(&p256.PublicKey) {
		t.Errorf("%v, %v", got, err)
	}
	for says, text := range map[string][]byte{
		"not a public key in PEM": []byte("cosign.pub"),
		"P-256":                   encode(&p384.PublicKey),
		"*rsa.PublicKey":          encode(&other.PublicKey),
		"public key: ":            pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
	} {
		_, err := ParseCosignKey(text)
		wantError(t, err, nil, says)
	}
}
