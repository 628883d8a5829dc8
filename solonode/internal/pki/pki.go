package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 365 * 24 * time.Hour
	backdate          = 24 * time.Hour
	// RenewBefore is the rest of a leaf's life at which it is re-signed.
	RenewBefore = 90 * 24 * time.Hour
)

// Config is what the certificates say.
type Config struct {
	Dir       string       // <path>/pki
	NodeName  string       // name of the Node object
	Addresses []netip.Addr // of the API server and the kubelet, without loopback
	Names     []string     // further DNS names of the API server
	Server    string       // URL in the kubeconfig files
	Now       time.Time    // the clock
	Floor     time.Time    // a time that is surely past; zero: none
}

// Ensure makes or renews everything and returns the names of the leafs it
// signed.
func Ensure(cfg Config) ([]string, error) {
	if info, err := os.Lstat(cfg.Dir); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("pki: %s is not a directory (a link is refused: it could point keys elsewhere)", cfg.Dir)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	authorities := map[string]*authority{}
	for _, name := range []string{caName, requestHeaderName} {
		ca, err := cfg.ensureAuthority(name)
		if err != nil {
			return nil, fmt.Errorf("pki: authority %s: %w", name, err)
		}
		authorities[name] = ca
	}
	if _, err := ensureKey(filepath.Join(cfg.Dir, "apiserver", "service-account.key")); err != nil {
		return nil, fmt.Errorf("pki: service account key: %w", err)
	}
	var signed []string
	for _, leaf := range cfg.leafs() {
		renewed, err := cfg.ensureLeaf(leaf, authorities[leaf.authority])
		if err != nil {
			return signed, fmt.Errorf("pki: certificate %s: %w", leaf.file, err)
		}
		if renewed {
			signed = append(signed, leaf.file)
		}
	}
	if err := cfg.writeKubeconfigs(authorities[caName]); err != nil {
		return signed, fmt.Errorf("pki: %w", err)
	}
	return signed, nil
}

type authority struct {
	cert *x509.Certificate
	pem  []byte
	key  crypto.Signer
}

// validity is the window described in the package comment.
func (cfg Config) validity(lifetime time.Duration) (notBefore, notAfter time.Time) {
	early, late := cfg.Now, cfg.Now
	if !cfg.Floor.IsZero() {
		if cfg.Floor.Before(early) {
			early = cfg.Floor
		}
		if cfg.Floor.After(late) {
			late = cfg.Floor
		}
	}
	return early.Add(-backdate), late.Add(lifetime)
}

func (cfg Config) ensureAuthority(name string) (*authority, error) {
	base := filepath.Join(cfg.Dir, name, name)
	key, err := ensureKey(base + ".key")
	if err != nil {
		return nil, err
	}
	cert, pemBytes, err := readCertificate(base + ".crt")
	if err == nil && !samePublicKey(cert, key) {
		return nil, fmt.Errorf("%s.crt does not belong to %s.key; restore both from one backup", base, base)
	}
	if errors.Is(err, fs.ErrNotExist) {
		cert, pemBytes, err = cfg.signAuthority(name, key, base+".crt")
	}
	if err != nil {
		return nil, err
	}
	if cfg.Now.After(cert.NotAfter) {
		return nil, fmt.Errorf("%s.crt expired on %s; check the clock, or remove %s to start a new cluster identity",
			base, cert.NotAfter.Format(time.DateOnly), cfg.Dir)
	}
	return &authority{cert: cert, pem: pemBytes, key: key}, nil
}

// ensureKey reads an ECDSA key or makes one. An unreadable file is an error:
// keys are never replaced silently.
func ensureKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := readKey(file)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	return key, writeKey(file, key)
}
