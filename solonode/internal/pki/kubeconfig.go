package pki

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const clusterName = "kubesolo"

// writeKubeconfigs writes one file per client certificate. Components get the
// paths of certificate and key, which client-go reloads after a renewal; the
// administrator's file holds everything, because it is copied to other
// machines.
func (cfg Config) writeKubeconfigs(ca *authority) error {
	for _, l := range cfg.leafs() {
		if l.kubeconfig == "" {
			continue
		}
		base := filepath.Join(cfg.Dir, filepath.FromSlash(l.file))
		material := "    client-certificate: " + base + ".crt\n    client-key: " + base + ".key\n"
		if l.embedMaterial {
			cert, err := os.ReadFile(base + ".crt")
			if err != nil {
				return err
			}
			key, err := os.ReadFile(base + ".key")
			if err != nil {
				return err
			}
			material = "    client-certificate-data: " + base64.StdEncoding.EncodeToString(cert) +
				"\n    client-key-data: " + base64.StdEncoding.EncodeToString(key) + "\n"
		}
		user := strings.TrimPrefix(l.commonName, "system:")
		text := renderKubeconfig(cfg.Server, user, material, ca.pem)
		if err := writeFile(filepath.Join(filepath.Dir(base), l.kubeconfig), []byte(text), 0o600); err != nil {
			return fmt.Errorf("kubeconfig %s: %w", l.kubeconfig, err)
		}
	}
	return nil
}

func renderKubeconfig(server, user, material string, ca []byte) string {
	context := user + "@" + clusterName
	return "apiVersion: v1\nkind: Config\nclusters:\n- name: " + clusterName +
		"\n  cluster:\n    server: " + server +
		"\n    certificate-authority-data: " + base64.StdEncoding.EncodeToString(ca) +
		"\ncontexts:\n- name: " + context + "\n  context:\n    cluster: " + clusterName + "\n    user: " + user +
		"\ncurrent-context: " + context + "\nusers:\n- name: " + user + "\n  user:\n" + material
}
