package cloudinit

import (
	"fmt"
	"net/netip"
	"strings"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
)

func (w *walker) root(n *yaml.Node, p *config.Part) {
	w.mapping(n, "",
		key{name: "hostname", doc: "Name of the machine and of the Kubernetes node: lower-case letters, digits and '-'.",
			read: w.intoText(&p.Hostname, "hostname", config.ValidHostname)},
		key{name: "network", doc: "Network, version 2 (netplan). It replaces the network of weaker sources as a whole.",
			read: func(n *yaml.Node) { p.Network = w.network(n, "network") }},
		key{name: "kubesolo", doc: "Settings of Kubernetes.", read: func(n *yaml.Node) { w.kubesolo(n, &p.KubeSolo) }},
		key{name: "portainer", doc: "Connects the node to a Portainer server.", read: func(n *yaml.Node) { w.portainer(n, &p.Portainer) }},
		key{name: "registries", doc: "Mirrors and certificates by registry, the first part of an image's name: docker.io.",
			read: func(n *yaml.Node) { p.Registries = w.registries(n) }},
		key{name: "proxy", doc: "Proxies through which images and updates are fetched.", read: func(n *yaml.Node) { w.proxy(n, &p.Proxy) }},
		key{name: "ntp", doc: "Where the time comes from.", read: func(n *yaml.Node) { w.ntp(n, &p.NTP) }},
		key{name: "ssh", doc: "Who may log in. Without a key there is no SSH server.", read: func(n *yaml.Node) {
			w.mapping(n, "ssh", key{name: "authorized_keys", doc: "Public keys, each as its .pub file has it.", read: w.sshKeys(p, "ssh.authorized_keys")})
		}},
		key{name: "ssh_authorized_keys", doc: "The same as ssh.authorized_keys.", read: w.sshKeys(p, "ssh_authorized_keys")},
		key{name: "write_files", doc: "Files that are written at every boot, below /run, /etc/kubesolo and /var.",
			read: func(n *yaml.Node) { p.WriteFiles = w.files(n) }},
		key{name: "sysctl", doc: "Kernel settings, such as vm.max_map_count.", read: func(n *yaml.Node) { p.Sysctl = w.sysctl(n) }},
		key{name: "modules", doc: "Kernel modules to load.", read: func(n *yaml.Node) { p.Modules = w.texts(n, "modules", validModule) }},
		key{name: "update", doc: "Where new versions of the system come from, and when they may come.", read: func(n *yaml.Node) { w.update(n, &p.Update) }},
	)
}

func (w *walker) kubesolo(n *yaml.Node, p *config.KubeSoloPart) {
	const at = "kubesolo"
	w.mapping(n, at,
		key{name: "extra-sans", doc: "More names and addresses for the certificate of the API server.", read: func(n *yaml.Node) {
			sans := w.texts(n, at+".extra-sans", config.ValidSAN)
			p.ExtraSANs = &sans
		}},
		key{name: "local-storage", doc: "Volumes in a directory of the node. Default: true.", read: w.intoBool(&p.LocalStorage, at+".local-storage")},
		key{name: "local-storage-shared-path", doc: "Directory for volumes that several pods share.",
			read: w.intoText(&p.LocalStorageSharedPath, at+".local-storage-shared-path", config.ValidPath)},
		key{name: "node-ip", doc: "IPv4 address of the Kubernetes node. Default: chosen at the first boot, then kept.", read: func(n *yaml.Node) { w.nodeIP(n, p) }},
		key{name: "extra-env", doc: "More environment variables of KubeSolo. The values are never shown.", read: func(n *yaml.Node) { p.ExtraEnv = w.extraEnv(n) }},
		key{name: "runtime", doc: "bundled is for a KubeSolo release that brings its own containerd. Default: external.", read: func(n *yaml.Node) {
			if s, ok := w.choice(n, at+".runtime", []string{string(config.RuntimeExternal), string(config.RuntimeBundled)}); ok {
				p.Runtime = new(config.Runtime(s))
			}
		}},
		key{name: "debug", doc: "More in the log of KubeSolo. Default: false.", read: w.intoBool(&p.Debug, at+".debug")},
		key{name: "startup-timeout", doc: "Seconds that each part of Kubernetes may take to start. Default: KubeSolo's own.",
			read: w.intoRange(&p.StartupTimeout, at+".startup-timeout", 0, 24*60*60)},
		key{name: "mtu", doc: "Largest packet of the pod network, in bytes. Default: KubeSolo's own choice.",
			read: w.intoRange(&p.MTU, at+".mtu", config.MinMTU, config.MaxMTU)},
		key{name: "disable-ipv6", doc: "Default: false.", read: w.intoBool(&p.DisableIPv6, at+".disable-ipv6")},
		key{name: "load-balancer", doc: "Services of type LoadBalancer get the node's address. Default: true.",
			read: w.intoBool(&p.LoadBalancer, at+".load-balancer")},
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
		err = fmt.Errorf("%s is not an address", shown(s))
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
	w.entries(n, at, config.ValidEnvName, func(name string, _, v *yaml.Node) {
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
		key{name: "edge-id", doc: "Edge ID, as Portainer shows it.", read: w.intoText(&p.EdgeID, at+".edge-id", nil)},
		key{name: "edge-key", doc: "Edge key, as Portainer shows it. It is never shown again.", read: w.intoSecret(&p.EdgeKey, at+".edge-key")},
		key{name: "async", doc: "Edge agent in async mode. Default: false.", read: w.intoBool(&p.Async, at+".async")},
		key{name: "image", doc: "Image of the agent. Default: KubeSolo's own.", read: w.intoText(&p.Image, at+".image", nil)},
	)
}

func (w *walker) sysctl(n *yaml.Node) map[string]string {
	out := map[string]string{}
	w.entries(n, "sysctl", validSysctl, func(name string, _, v *yaml.Node) {
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
