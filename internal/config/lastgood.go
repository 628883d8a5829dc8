package config

import (
	"encoding/json"
	"fmt"
	"os"

	"kubesolo.io/os/internal/atomicfile"
)

// saved is the file of Save: the Part, whose JSON hides its secrets, and the
// secrets. The file is for root only.
type saved struct {
	Part     Part              `json:"part"`
	EdgeKey  *string           `json:"edge-key,omitempty"`
	ExtraEnv map[string]string `json:"extra-env,omitempty"`
	HTTP     *string           `json:"http-proxy,omitempty"`
	HTTPS    *string           `json:"https-proxy,omitempty"`
	Registry *string           `json:"registry-auth,omitempty"`
}

// Save keeps the part that led to a healthy node at path, mode 0600.
func Save(path string, p Part) error {
	s := saved{Part: p}
	if p.Portainer.EdgeKey != nil {
		s.EdgeKey = new(p.Portainer.EdgeKey.Reveal())
	}
	if p.Proxy.HTTP != nil {
		s.HTTP = new(p.Proxy.HTTP.Reveal())
	}
	if p.Proxy.HTTPS != nil {
		s.HTTPS = new(p.Proxy.HTTPS.Reveal())
	}
	if p.Update.RegistryAuth != nil {
		s.Registry = new(p.Update.RegistryAuth.Reveal())
	}
	if len(p.KubeSolo.ExtraEnv) > 0 {
		s.ExtraEnv = make(map[string]string, len(p.KubeSolo.ExtraEnv))
		for k, v := range p.KubeSolo.ExtraEnv {
			s.ExtraEnv[k] = v.Reveal()
		}
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the last good configuration: %w", err)
	}
	return atomicfile.Write(path, append(b, '\n'), 0o600)
}

// Load reads what Save wrote. When there is none the error is fs.ErrNotExist.
func Load(path string) (Part, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Part{}, fmt.Errorf("last good configuration: %w", err)
	}
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return Part{}, fmt.Errorf("last good configuration %s: %w", path, err)
	}
	if s.EdgeKey != nil {
		s.Part.Portainer.EdgeKey = new(Secret(*s.EdgeKey))
	}
	if s.HTTP != nil {
		s.Part.Proxy.HTTP = new(ProxyURL(*s.HTTP))
	}
	if s.HTTPS != nil {
		s.Part.Proxy.HTTPS = new(ProxyURL(*s.HTTPS))
	}
	if s.Registry != nil {
		s.Part.Update.RegistryAuth = new(Secret(*s.Registry))
	}
	if s.Part.KubeSolo.ExtraEnv == nil && len(s.ExtraEnv) > 0 {
		s.Part.KubeSolo.ExtraEnv = make(map[string]Secret, len(s.ExtraEnv))
	}
	for k, v := range s.ExtraEnv {
		s.Part.KubeSolo.ExtraEnv[k] = Secret(v)
	}
	return s.Part, nil
}

// OrLastGood decides between a fresh Part and the last good one: when
// parsing gave an error, the part at path is used and the reason is a warning in
// one line. With neither, the node runs on the lower sources.
func OrLastGood(fresh Part, parse error, path string) (Part, string) {
	if parse == nil {
		return fresh, ""
	}
	old, err := Load(path)
	if err != nil {
		return Part{Source: fresh.Source}, fmt.Sprintf("%s is not used, and no earlier good configuration is there; the defaults stand", fresh.Source)
	}
	old.Source = "last good configuration"
	return old, fmt.Sprintf("%s is not used; the last configuration that led to a healthy node is", fresh.Source)
}
