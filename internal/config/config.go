// Package config is the typed configuration of a node: what it can be told
// ([Config]), what one source says ([Part]), and how sources are put together
// ([Merge]) so that the origin of every value stays known.
//
// It owns validation (all the errors, not only the first), the environment
// that KubeSolo is driven by ([KubeSoloEnv]) and the copy of the last
// configuration that led to a healthy node ([Save], [Load]). It never reads
// the sources themselves: cloud-init is parsed by internal/cloudinit, kernel
// arguments come in as strings.
//
// Tests: tables, and a fuzz target for the kernel's ip= syntax.
package config

import (
	"encoding/json"
	"io/fs"
	"net/netip"

	"kubesolo.io/os/internal/netcfg"
)

// DefaultHostname is used when no source names one. Each node is a cluster of
// its own, so equal names do not collide; it is the Kubernetes node's name and
// must stay the same over reboots, so it is not made from hardware.
const DefaultHostname = "kubesolo"

// Secret is a string that is never printed.
type Secret string

// String hides the value; [Secret.Reveal] gives it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalJSON hides the value: JSON of a Config is for people and the API.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }

// Runtime says which containerd runs the pods.
type Runtime string

const (
	// RuntimeExternal: the containerd that PID 1 supervises.
	RuntimeExternal Runtime = "external"
	// RuntimeBundled: the one inside KubeSolo (releases before v1.2.0).
	RuntimeBundled Runtime = "bundled"
)

// Config is the effective configuration.
type Config struct {
	Hostname   string            `json:"hostname"`
	Network    netcfg.Config     `json:"network"`
	KubeSolo   KubeSolo          `json:"kubesolo"`
	Portainer  Portainer         `json:"portainer,omitzero"`
	WriteFiles []File            `json:"write-files,omitempty"`
	Sysctl     map[string]string `json:"sysctl,omitempty"`
	Modules    []string          `json:"modules,omitempty"`
	NTP        NTP               `json:"ntp,omitzero"`
	SSH        SSH               `json:"ssh,omitzero"`
	// Registries by the host that image names begin with: "docker.io".
	Registries map[string]Registry `json:"registries,omitempty"`
	Proxy      Proxy               `json:"proxy,omitzero"`
	Update     Update              `json:"update"`
}

// KubeSolo is the part that becomes KUBESOLO_* variables.
type KubeSolo struct {
	ExtraSANs              []string          `json:"extra-sans,omitempty"`
	LocalStorage           bool              `json:"local-storage"`
	LocalStorageSharedPath string            `json:"local-storage-shared-path,omitempty"`
	NodeIP                 netip.Addr        `json:"node-ip,omitzero"`
	ExtraEnv               map[string]Secret `json:"extra-env,omitempty"`
	Runtime                Runtime           `json:"runtime"`
	Debug                  bool              `json:"debug"`
	// StartupTimeout in seconds; 0 leaves KubeSolo's own.
	StartupTimeout int `json:"startup-timeout,omitempty"`
	// MTU of the pod network in bytes; 0 leaves KubeSolo's own choice.
	MTU          int  `json:"mtu,omitempty"`
	DisableIPv6  bool `json:"disable-ipv6"`
	LoadBalancer bool `json:"load-balancer"`
}

// Portainer connects the node to a Portainer server.
type Portainer struct {
	EdgeID  string `json:"edge-id,omitempty"`
	EdgeKey Secret `json:"edge-key,omitempty"`
	Async   bool   `json:"async,omitempty"`
	Image   string `json:"image,omitempty"`
}

// File is written at boot.
type File struct {
	Path        string      `json:"path"`
	Content     []byte      `json:"content,omitempty"`
	Permissions fs.FileMode `json:"permissions"`
}

// Part is what one source says; nil means that it says nothing.
type Part struct {
	// Source names the origin in messages and in Origins.
	Source     string            `json:"source"`
	Hostname   *string           `json:"hostname,omitempty"`
	Network    *netcfg.Config    `json:"network,omitempty"`
	KubeSolo   KubeSoloPart      `json:"kubesolo,omitzero"`
	Portainer  PortainerPart     `json:"portainer,omitzero"`
	WriteFiles []File            `json:"write-files,omitempty"`
	Sysctl     map[string]string `json:"sysctl,omitempty"`
	Modules    []string          `json:"modules,omitempty"`
	NTP        NTPPart           `json:"ntp,omitzero"`
	SSH        SSHPart           `json:"ssh,omitzero"`
	// Registries: an entry replaces the whole entry of a lower source.
	Registries map[string]Registry `json:"registries,omitempty"`
	Proxy      ProxyPart           `json:"proxy,omitzero"`
	Update     UpdatePart          `json:"update,omitzero"`
}

// KubeSoloPart is one source's say on KubeSolo.
type KubeSoloPart struct {
	ExtraSANs              *[]string         `json:"extra-sans,omitempty"`
	LocalStorage           *bool             `json:"local-storage,omitempty"`
	LocalStorageSharedPath *string           `json:"local-storage-shared-path,omitempty"`
	NodeIP                 *netip.Addr       `json:"node-ip,omitempty"`
	ExtraEnv               map[string]Secret `json:"extra-env,omitempty"`
	Runtime                *Runtime          `json:"runtime,omitempty"`
	Debug                  *bool             `json:"debug,omitempty"`
	StartupTimeout         *int              `json:"startup-timeout,omitempty"`
	MTU                    *int              `json:"mtu,omitempty"`
	DisableIPv6            *bool             `json:"disable-ipv6,omitempty"`
	LoadBalancer           *bool             `json:"load-balancer,omitempty"`
}

// PortainerPart is one source's say on Portainer.
type PortainerPart struct {
	EdgeID  *string `json:"edge-id,omitempty"`
	EdgeKey *Secret `json:"edge-key,omitempty"`
	Async   *bool   `json:"async,omitempty"`
	Image   *string `json:"image,omitempty"`
}

// Defaults is the lowest source.
func Defaults() Part {
	network := netcfg.Default()
	return Part{
		Source:   "defaults",
		Hostname: new(DefaultHostname),
		Network:  &network,
		KubeSolo: KubeSoloPart{
			LocalStorage: new(true),
			LoadBalancer: new(true),
			Runtime:      new(RuntimeExternal),
		},
		Update: defaultUpdate(),
	}
}
