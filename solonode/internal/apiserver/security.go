package apiserver

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// CipherSuites are those of TLS 1.2 that the API server and the kubelet speak:
// with forward secrecy and authenticated encryption (CIS Kubernetes 1.2.29 and
// 4.2.13). TLS 1.3 has no others.
func CipherSuites() []string {
	return []string{
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	}
}

// authentication lets callers without credentials ask whether the server is
// well, for load balancers, and nothing else, whatever a role binding of the
// cluster says.
const authentication = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
    - path: /livez
    - path: /readyz
    - path: /healthz
`

func (cfg Config) authenticationFile() string {
	return filepath.Join(cfg.PKI, "apiserver", "authentication.yaml")
}

// writeAuthentication writes the file, which upstream takes by name only. It is
// written when it differs, so that a start writes nothing to the disk.
func writeAuthentication(file string) error {
	have, err := os.ReadFile(file)
	if err == nil && string(have) == authentication {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(authentication), 0o600)
}
