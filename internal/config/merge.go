package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Origins maps the path of a value ("kubesolo.node-ip", "sysctl.vm.swappiness")
// to the source that it came from.
type Origins map[string]string

// String prints one "path: source" line per value, sorted.
func (o Origins) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(o)) {
		fmt.Fprintf(&b, "%s: %s\n", k, o[k])
	}
	return b.String()
}

// Merge puts the parts together, lowest first. A value of a later part
// replaces that of an earlier one; the network and each list are one value
// each, except that sysctl, extra-env and registries go by key, write-files by
// path, and modules add up: a later source cannot take away what an earlier one
// loads.
// The result shares no memory with the parts.
func Merge(parts ...Part) (Config, Origins) {
	var c Config
	o := Origins{}
	for _, p := range parts {
		m := merger{source: p.Source, origins: o}
		set(m, "hostname", &c.Hostname, p.Hostname)
		set(m, "network", &c.Network, p.Network)
		m.kubesolo(&c.KubeSolo, p.KubeSolo)
		m.portainer(&c.Portainer, p.Portainer)
		setKeys(m, "sysctl", &c.Sysctl, p.Sysctl)
		set(m, "ntp.servers", &c.NTP.Servers, p.NTP.Servers)
		set(m, "ntp.disabled", &c.NTP.Disabled, p.NTP.Disabled)
		set(m, "ssh.authorized-keys", &c.SSH.AuthorizedKeys, p.SSH.AuthorizedKeys)
		setKeys(m, "registries", &c.Registries, p.Registries)
		set(m, "proxy.http", &c.Proxy.HTTP, p.Proxy.HTTP)
		set(m, "proxy.https", &c.Proxy.HTTPS, p.Proxy.HTTPS)
		set(m, "proxy.no-proxy", &c.Proxy.NoProxy, p.Proxy.NoProxy)
		m.update(&c.Update, p.Update)
		for _, f := range p.WriteFiles {
			m.mark("write-files." + f.Path)
			f.Content = slices.Clone(f.Content)
			if i := slices.IndexFunc(c.WriteFiles, func(x File) bool { return x.Path == f.Path }); i >= 0 {
				c.WriteFiles[i] = f
				continue
			}
			c.WriteFiles = append(c.WriteFiles, f)
		}
		for _, name := range p.Modules {
			if !slices.Contains(c.Modules, name) {
				m.mark("modules." + name)
				c.Modules = append(c.Modules, name)
			}
		}
	}
	c.Update.settle()
	return c, o
}

type merger struct {
	source  string
	origins Origins
}

func (m merger) mark(path string) { m.origins[path] = m.source }

func set[T any](m merger, path string, dst *T, src *T) {
	if src != nil {
		*dst = *src
		m.mark(path)
	}
}

func setKeys[V any](m merger, path string, dst *map[string]V, src map[string]V) {
	if *dst == nil && len(src) > 0 {
		*dst = make(map[string]V, len(src))
	}
	for k, v := range src {
		(*dst)[k] = v
		m.mark(path + "." + k)
	}
}

func (m merger) kubesolo(c *KubeSolo, p KubeSoloPart) {
	set(m, "kubesolo.extra-sans", &c.ExtraSANs, p.ExtraSANs)
	set(m, "kubesolo.local-storage", &c.LocalStorage, p.LocalStorage)
	set(m, "kubesolo.local-storage-shared-path", &c.LocalStorageSharedPath, p.LocalStorageSharedPath)
	set(m, "kubesolo.node-ip", &c.NodeIP, p.NodeIP)
	setKeys(m, "kubesolo.extra-env", &c.ExtraEnv, p.ExtraEnv)
	set(m, "kubesolo.runtime", &c.Runtime, p.Runtime)
	set(m, "kubesolo.debug", &c.Debug, p.Debug)
	set(m, "kubesolo.startup-timeout", &c.StartupTimeout, p.StartupTimeout)
	set(m, "kubesolo.mtu", &c.MTU, p.MTU)
	set(m, "kubesolo.disable-ipv6", &c.DisableIPv6, p.DisableIPv6)
	set(m, "kubesolo.load-balancer", &c.LoadBalancer, p.LoadBalancer)
}

func (m merger) portainer(c *Portainer, p PortainerPart) {
	set(m, "portainer.edge-id", &c.EdgeID, p.EdgeID)
	set(m, "portainer.edge-key", &c.EdgeKey, p.EdgeKey)
	set(m, "portainer.async", &c.Async, p.Async)
	set(m, "portainer.image", &c.Image, p.Image)
}
