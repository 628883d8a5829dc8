package config

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Fixed places of this system that KubeSolo is told about.
const (
	kubesoloPath     = "/var/lib/kubesolo"
	containerdSocket = "unix:///run/containerd/containerd.sock"
	servicePath      = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// KubeSoloEnv is the whole environment of the kubesolo process, "KEY=value",
// sorted; the names are those of KubeSolo v1.2.0. extra-env is added last and
// wins. It holds secrets: it is for execve only, never for a log.
func KubeSoloEnv(c Config, nodeIP netip.Addr) []string {
	env := map[string]string{
		"PATH":                   servicePath,
		"HOME":                   "/root",
		"KUBESOLO_PATH":          kubesoloPath,
		"KUBESOLO_LOCAL_STORAGE": strconv.FormatBool(c.KubeSolo.LocalStorage),
		"KUBESOLO_LOAD_BALANCER": strconv.FormatBool(c.KubeSolo.LoadBalancer),
	}
	str := func(name, v string) {
		if v != "" {
			env[name] = v
		}
	}
	num := func(name string, v int) {
		if v != 0 {
			env[name] = strconv.Itoa(v)
		}
	}
	flag := func(name string, v bool) {
		if v {
			env[name] = "true"
		}
	}
	k := c.KubeSolo
	if k.NodeIP.IsValid() {
		nodeIP = k.NodeIP
	}
	if nodeIP.IsValid() {
		env["KUBESOLO_NODE_IP"] = nodeIP.String()
	}
	if k.Runtime != RuntimeBundled {
		env["KUBESOLO_CONTAINER_RUNTIME_ENDPOINT"] = containerdSocket
	}
	str("KUBESOLO_APISERVER_EXTRA_SANS", strings.Join(k.ExtraSANs, ","))
	str("KUBESOLO_LOCAL_STORAGE_SHARED_PATH", k.LocalStorageSharedPath)
	num("KUBESOLO_STARTUP_TIMEOUT", k.StartupTimeout)
	num("KUBESOLO_MTU", k.MTU)
	flag("KUBESOLO_DEBUG", k.Debug)
	flag("KUBESOLO_DISABLE_IPV6", k.DisableIPv6)
	str("KUBESOLO_PORTAINER_EDGE_ID", c.Portainer.EdgeID)
	str("KUBESOLO_PORTAINER_EDGE_KEY", c.Portainer.EdgeKey.Reveal())
	flag("KUBESOLO_PORTAINER_EDGE_ASYNC", c.Portainer.Async)
	str("KUBESOLO_PORTAINER_EDGE_IMAGE", c.Portainer.Image)
	for _, v := range ProxyEnv(c.Proxy, nodeIP) {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	for name, v := range k.ExtraEnv {
		env[name] = v.Reveal()
	}
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
