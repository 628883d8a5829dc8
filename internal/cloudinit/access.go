package cloudinit

import (
	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
)

func (w *walker) ntp(n *yaml.Node, p *config.NTPPart) {
	const at = "ntp"
	// pools come from cloud-init's schema; a server of a pool is asked like
	// any other.
	read := func(name string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			servers := w.texts(n, at+"."+name, config.ValidNTPServer)
			if p.Servers != nil {
				servers = append(*p.Servers, servers...)
			}
			p.Servers = &servers
		}
	}
	w.mapping(n, at,
		key{name: "servers", doc: "Host names or addresses. Default: those of the network's lease, then those of the image.", read: read("servers")},
		key{name: "pools", doc: "Host names that stand for several servers; added to servers.", read: read("pools")},
		key{name: "enabled", doc: "false: no server is asked for the time, ever. Default: true.", read: func(n *yaml.Node) {
			if v, ok := w.boolean(n, at+".enabled"); ok {
				p.Disabled = new(!v)
			}
		}},
	)
}

func (w *walker) sshKeys(p *config.Part, at string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		keys := w.texts(n, at, config.ValidAuthorizedKey)
		if p.SSH.AuthorizedKeys != nil {
			keys = append(*p.SSH.AuthorizedKeys, keys...)
		}
		p.SSH.AuthorizedKeys = &keys
	}
}

func (w *walker) registries(n *yaml.Node) map[string]config.Registry {
	out := map[string]config.Registry{}
	w.entries(n, "registries", config.ValidRegistryHost, func(host string, k, v *yaml.Node) {
		at := "registries." + host
		var r config.Registry
		var skip *bool
		var ca *string
		w.mapping(v, at,
			key{name: "mirrors", doc: "Addresses that are asked before the registry itself, in order: https://host.",
				read: func(n *yaml.Node) { r.Mirrors = w.texts(n, at+".mirrors", config.ValidMirror) }},
			key{name: "skip-verify", doc: "Trust any certificate of these servers. Default: false.", read: w.intoBool(&skip, at+".skip-verify")},
			key{name: "ca", doc: "Certificates (PEM) to trust for these servers.", read: w.intoText(&ca, at+".ca", config.ValidCA)},
		)
		if skip != nil {
			r.SkipVerify = *skip
		}
		if ca != nil {
			r.CA = *ca
		}
		out[host] = r
	})
	return out
}

func (w *walker) proxy(n *yaml.Node, p *config.ProxyPart) {
	const at = "proxy"
	read := func(dst **config.ProxyURL, name string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			if s, ok := w.checked(n, at+"."+name, config.ValidProxy); ok {
				*dst = new(config.ProxyURL(s))
			}
		}
	}
	w.mapping(n, at,
		key{name: "http", doc: "Proxy for http addresses: http://host:port.", read: read(&p.HTTP, "http")},
		key{name: "https", doc: "Proxy for https addresses, which images are fetched from.", read: read(&p.HTTPS, "https")},
		key{name: "no-proxy", doc: "What is reached directly: names, .domains, addresses, ranges. The node itself, pods and services always are.",
			read: func(n *yaml.Node) {
				list := w.texts(n, at+".no-proxy", config.ValidNoProxy)
				p.NoProxy = &list
			}},
	)
}
