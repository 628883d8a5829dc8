package cloudinit

import (
	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
)

// networkConfig reads the file network-config of a NoCloud volume: what stands
// below network elsewhere, with that key or without.
func (w *walker) networkConfig(n *yaml.Node, p *config.Part) {
	if n.Kind == yaml.MappingNode && child(n, "network") == nil {
		p.Network = w.network(n, "network-config")
		return
	}
	w.mapping(n, "", key{name: "network", read: func(n *yaml.Node) { p.Network = w.network(n, "network") }})
}

// metaData reads the file meta-data of a NoCloud volume. Of its keys the name
// of the machine has a meaning here; instance-id has none, since every boot
// reads the whole configuration anew.
func (w *walker) metaData(n *yaml.Node, p *config.Part) {
	var local, name *string
	w.mapping(n, "",
		key{name: "local-hostname", read: w.intoText(&local, "local-hostname", config.ValidHostname)},
		key{name: "hostname", read: w.intoText(&name, "hostname", config.ValidHostname)},
		key{name: "instance-id", read: func(n *yaml.Node) { w.plain(n, "instance-id") }},
		key{name: "public-keys", later: true},
		key{name: "network-interfaces", later: true},
		key{name: "dsmode", later: true},
		key{name: "seedfrom", later: true},
	)
	p.Hostname = name
	if local != nil { // as cloud-init decides it
		p.Hostname = local
	}
}
