package hostnet

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	// CNIDir is where the container runtime looks for network configurations.
	CNIDir  = "/etc/cni/net.d"
	cniFile = "10-bridge.conflist"
)

// CNIConfig is the network configuration for the bridge plugin. ipMasq is off:
// the plugin would write iptables rules, Masquerade does it with nftables.
func CNIConfig(podCIDR string, mtu int) ([]byte, error) {
	bridge := map[string]any{
		"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
		"hairpinMode": true,
		"ipam": map[string]any{
			"type":   "host-local",
			"ranges": [][]map[string]string{{{"subnet": podCIDR}}},
			"routes": []map[string]string{{"dst": "0.0.0.0/0"}},
		},
	}
	if mtu > 0 {
		bridge["mtu"] = mtu
	}
	portmap := map[string]any{
		"type": "portmap", "backend": "nftables",
		"capabilities": map[string]bool{"portMappings": true},
	}
	return json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0", "name": "kubesolo-net", "plugins": []any{bridge, portmap},
	}, "", "  ")
}

// WriteCNI writes the configuration into dir and returns a warning when
// another file there comes first and wins.
func WriteCNI(dir, podCIDR string, mtu int) (warning string, err error) {
	data, err := CNIConfig(podCIDR, mtu)
	if err != nil {
		return "", fmt.Errorf("CNI configuration: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("CNI configuration: %w", err)
	}
	file := filepath.Join(dir, cniFile)
	// The runtime watches the directory: it must never see half a file.
	temp := filepath.Join(dir, "."+cniFile)
	if err := os.WriteFile(temp, append(data, '\n'), 0o644); err != nil {
		return "", fmt.Errorf("CNI configuration: %w (the directory must be writable)", err)
	}
	if err := os.Rename(temp, file); err != nil {
		return "", fmt.Errorf("CNI configuration: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("CNI configuration: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		known := strings.HasSuffix(name, ".conf") || strings.HasSuffix(name, ".conflist") || strings.HasSuffix(name, ".json")
		if known && name < cniFile && !strings.HasPrefix(name, ".") {
			return fmt.Sprintf("%s comes before %s and is used instead of it", filepath.Join(dir, name), cniFile), nil
		}
	}
	return "", nil
}
