package cloudinit

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
)

func (w *walker) root(n *yaml.Node, p *config.Part) {
	w.mapping(n, "",
		key{name: "hostname", read: w.intoText(&p.Hostname, "hostname", config.ValidHostname)},
		key{name: "network", read: func(n *yaml.Node) { p.Network = w.network(n) }},
		key{name: "kubesolo", read: func(n *yaml.Node) { w.kubesolo(n, &p.KubeSolo) }},
		key{name: "portainer", read: func(n *yaml.Node) { w.portainer(n, &p.Portainer) }},
		key{name: "write_files", read: func(n *yaml.Node) { p.WriteFiles = w.files(n) }},
		key{name: "sysctl", read: func(n *yaml.Node) { p.Sysctl = w.sysctl(n) }},
		key{name: "modules", read: func(n *yaml.Node) { p.Modules = w.texts(n, "modules", validModule) }},
		key{name: "ssh", later: true},
		key{name: "ntp", later: true},
		key{name: "update", later: true},
	)
}

func (w *walker) kubesolo(n *yaml.Node, p *config.KubeSoloPart) {
	const at = "kubesolo"
	w.mapping(n, at,
		key{name: "extra-sans", read: func(n *yaml.Node) {
			sans := w.texts(n, at+".extra-sans", config.ValidSAN)
			p.ExtraSANs = &sans
		}},
		key{name: "local-storage", read: w.intoBool(&p.LocalStorage, at+".local-storage")},
		key{name: "local-storage-shared-path", read: w.intoText(&p.LocalStorageSharedPath, at+".local-storage-shared-path", config.ValidPath)},
		key{name: "node-ip", read: func(n *yaml.Node) { w.nodeIP(n, p) }},
		key{name: "extra-env", read: func(n *yaml.Node) { p.ExtraEnv = w.extraEnv(n) }},
		key{name: "runtime", read: func(n *yaml.Node) {
			check := func(s string) error { return config.ValidRuntime(config.Runtime(s)) }
			if s, ok := w.checked(n, at+".runtime", check); ok {
				p.Runtime = new(config.Runtime(s))
			}
		}},
		key{name: "debug", read: w.intoBool(&p.Debug, at+".debug")},
		key{name: "startup-timeout", read: w.intoNumber(&p.StartupTimeout, at+".startup-timeout", config.ValidTimeout)},
		key{name: "mtu", read: w.intoNumber(&p.MTU, at+".mtu", config.ValidMTU)},
		key{name: "disable-ipv6", read: w.intoBool(&p.DisableIPv6, at+".disable-ipv6")},
		key{name: "load-balancer", read: w.intoBool(&p.LoadBalancer, at+".load-balancer")},
	)
}

func (w *walker) nodeIP(n *yaml.Node, p *config.KubeSoloPart) {
	const at = "kubesolo.node-ip"
	s, ok := w.text(n, at)
	if !ok {
		return
	}
	addr, err := netip.ParseAddr(s)
	if err == nil {
		err = config.ValidNodeIP(addr)
	} else {
		err = fmt.Errorf("%q is not an address", s)
	}
	if err != nil {
		w.errorf(n, "%s: %v", at, err)
		return
	}
	p.NodeIP = &addr
}

// extraEnv: the values may be secrets, so only names are ever shown.
func (w *walker) extraEnv(n *yaml.Node) map[string]config.Secret {
	const at = "kubesolo.extra-env"
	env := map[string]config.Secret{}
	w.entries(n, at, func(name string, k, v *yaml.Node) {
		if err := config.ValidEnvName(name); err != nil {
			w.errorf(k, "%s: %v", at, err)
			return
		}
		s, ok := w.plain(v, at+"."+name)
		if ok && strings.ContainsRune(s, 0) {
			w.errorf(v, "%s.%s: a NUL byte cannot be in an environment variable", at, name)
		} else if ok {
			env[name] = config.Secret(s)
		}
	})
	return env
}

func (w *walker) portainer(n *yaml.Node, p *config.PortainerPart) {
	const at = "portainer"
	w.mapping(n, at,
		key{name: "edge-id", read: w.intoText(&p.EdgeID, at+".edge-id", nil)},
		key{name: "edge-key", read: w.intoSecret(&p.EdgeKey, at+".edge-key")},
		key{name: "async", read: w.intoBool(&p.Async, at+".async")},
		key{name: "image", read: w.intoText(&p.Image, at+".image", nil)},
	)
}

func (w *walker) sysctl(n *yaml.Node) map[string]string {
	out := map[string]string{}
	w.entries(n, "sysctl", func(name string, k, v *yaml.Node) {
		if err := validSysctl(name); err != nil {
			w.errorf(k, "sysctl: %v", err)
			return
		}
		if s, ok := w.plain(v, "sysctl."+name); ok {
			out[name] = s
		}
	})
	return out
}

func validSysctl(s string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r))
	}
	if !strings.ContainsAny(s, "./") || strings.ContainsFunc(s, bad) || strings.Contains(s, "..") || strings.HasPrefix(s, "/") {
		return fmt.Errorf("%s is not the name of a kernel setting, such as net.ipv4.ip_forward", shown(s))
	}
	return nil
}

func validModule(s string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	}
	if s == "" || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("%s is not the name of a kernel module", shown(s))
	}
	return nil
}

// defaultPermissions are cloud-init's.
const defaultPermissions fs.FileMode = 0o644

func (w *walker) files(n *yaml.Node) []config.File {
	var out []config.File
	w.list(n, "write_files", func(e *yaml.Node) {
		if f, ok := w.file(e); ok {
			out = append(out, f)
		}
	})
	return out
}

func (w *walker) file(n *yaml.Node) (config.File, bool) {
	const at = "write_files"
	f := config.File{Permissions: defaultPermissions}
	before := len(w.problems)
	var path, encoding *string
	var content string
	contentAt := n
	w.mapping(n, at,
		key{name: "path", read: w.intoText(&path, at+".path", config.ValidFilePath)},
		key{name: "content", read: func(n *yaml.Node) { content, _ = w.text(n, at+".content"); contentAt = n }},
		key{name: "permissions", read: func(n *yaml.Node) { f.Permissions = w.permissions(n) }},
		key{name: "encoding", read: w.intoText(&encoding, at+".encoding", validEncoding)},
		key{name: "owner", later: true},
		key{name: "append", later: true},
		key{name: "defer", later: true},
	)
	if len(w.problems) > before || n.Kind != yaml.MappingNode {
		return f, false
	}
	if path == nil {
		w.errorf(n, "%s: an entry has no path", at)
		return f, false
	}
	f.Path, f.Content = *path, []byte(content)
	if encoding != nil && *encoding != plainText {
		clean := strings.Join(strings.Fields(content), "")
		b, err := base64.StdEncoding.DecodeString(clean)
		if err != nil {
			w.errorf(contentAt, "%s: the content of %s is not base64", at, f.Path)
			return f, false
		}
		f.Content = b
	}
	return f, true
}

const plainText = "text/plain"

func validEncoding(s string) error {
	if s == "b64" || s == "base64" || s == plainText {
		return nil
	}
	return fmt.Errorf("%s is not supported; use base64 or leave it out", shown(s))
}

// permissions are octal, quoted or not: 0644, '0644', 0o644.
func (w *walker) permissions(n *yaml.Node) fs.FileMode {
	s, ok := w.plain(n, "write_files.permissions")
	if !ok {
		return 0
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || v > 0o777 {
		w.errorf(n, "write_files.permissions: %s is not an octal mode from 0 to 0777", shown(s))
		return 0
	}
	return fs.FileMode(v)
}
