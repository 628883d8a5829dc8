package cloudinit

import (
	"time"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/update/window"
)

func (w *walker) update(n *yaml.Node, p *config.UpdatePart) {
	const at = "update."
	w.mapping(n, "update",
		key{name: "source", doc: "https://host/path, http://host/path or oci://registry/repository, whose tags are the channels. Default: none but a medium.",
			read: w.intoText(&p.Source, at+"source", config.ValidUpdateSource)},
		key{name: "channel", doc: "Which versions are taken. Default: stable.", read: w.intoText(&p.Channel, at+"channel", config.ValidChannel)},
		key{name: "auto", doc: "What the node does by itself with a newer version. Default: check (say so) with a source, else off.", read: func(n *yaml.Node) {
			if s, ok := w.choice(n, at+"auto", config.Autos()); ok {
				p.Auto = new(config.Auto(s))
			}
		}},
		key{name: "window", doc: "When the node may restart into a newer version, in UTC: 01:00-05:00, or Sat,Sun 22:00-04:00. Default: always.",
			read: func(n *yaml.Node) { w.window(n, p, at+"window") }},
		key{name: "check-every", doc: "Time between two looks at the source, 10m to 168h. Default: 6h.",
			read: w.intoDuration(&p.CheckEvery, at+"check-every", config.ValidCheckEvery)},
		key{name: "deadline", doc: "Time from its boot by which a new version must be good, 2m to 2h; else the old one is booted. Default: 10m.",
			read: w.intoDuration(&p.Deadline, at+"deadline", config.ValidDeadline)},
		key{name: "healthy-for", doc: "How long a new version must be healthy to be good, 10s to 30m. Default: 30s.",
			read: w.intoDuration(&p.HealthyFor, at+"healthy-for", config.ValidHealthyFor)},
		key{name: "usb", doc: "Look for a medium labelled KSOLOUPDATE. Default: true.", read: w.intoBool(&p.USB, at+"usb")},
		key{name: "waves", doc: "Wait for the node's turn when a version is rolled out over some time. Default: true.", read: w.intoBool(&p.Waves, at+"waves")},
		key{name: "probe", doc: "An http or https address that must answer 200 for a new version to be good.",
			read: w.intoText(&p.Probe, at+"probe", config.ValidProbe)},
		key{name: "ca", doc: "Certificates (PEM) to trust for the source.", read: w.intoText(&p.CA, at+"ca", config.ValidCA)},
		key{name: "cosign-key", doc: "A public key (PEM) that must have signed what an oci source gives.",
			read: w.intoText(&p.CosignKey, at+"cosign-key", config.ValidPublicKey)},
		key{name: "registry-auth", doc: "Passwords for the source, as docker login writes them (the text of config.json). They are never shown again.",
			read: func(n *yaml.Node) { w.registryAuth(n, p, at+"registry-auth") }},
	)
}

func (w *walker) window(n *yaml.Node, p *config.UpdatePart, at string) {
	s, ok := w.text(n, at)
	if !ok {
		return
	}
	v, err := window.Parse(s)
	if err != nil {
		w.errorf(n, "%s: %v", at, err)
		return
	}
	p.Window = &v
}

// registryAuth: JSON is YAML, so the file itself is easily pasted in.
func (w *walker) registryAuth(n *yaml.Node, p *config.UpdatePart, at string) {
	if n.Kind == yaml.MappingNode {
		w.wrongType(n, at, "text (write registry-auth: | and put the JSON below it, indented)")
		return
	}
	if s, ok := w.checked(n, at, config.ValidRegistryAuth); ok {
		p.RegistryAuth = new(config.Secret(s))
	}
}

// intoDuration reads a length of time that says its unit.
func (w *walker) intoDuration(dst **config.Duration, at string, check func(config.Duration) error) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if w.told("string") {
			return
		}
		s, ok := w.plain(n, at)
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			w.errorf(n, "%s: %s is not a length of time such as 30s, 10m or 6h; a day is 24h", at, shown(s))
		} else if err := check(config.Duration(d)); err != nil {
			w.errorf(n, "%s: %v", at, err)
		} else {
			*dst = new(config.Duration(d))
		}
	}
}
