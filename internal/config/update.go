package config

import (
	"fmt"
	"strings"
	"time"

	"kubesolo.io/os/internal/update/window"
)

// Auto is what a node does by itself with a newer version that its source has. One
// on a medium is installed by whoever puts it in (USB).
type Auto string

// Each does what the one before does, and more.
const (
	AutoOff      Auto = "off"      // looks only when it is told to
	AutoCheck    Auto = "check"    // looks, and says what it found
	AutoDownload Auto = "download" // puts it into the passive slot
	AutoApply    Auto = "apply"    // boots it when the gates are open
)

// Autos are all of them.
func Autos() []string {
	return []string{string(AutoOff), string(AutoCheck), string(AutoDownload), string(AutoApply)}
}

// DefaultChannel of updates.
const DefaultChannel = "stable"

// Update says where new versions of the system come from, and when they may
// come. In a Config of [Merge] every field has its default.
type Update struct {
	// Source is https://host/path, http://host/path (what comes from there is
	// signed) or oci://registry/repository, whose tags are the channels; ""
	// is none but a medium.
	Source  string `json:"source,omitempty"`
	Channel string `json:"channel"`
	// Auto unless said: AutoCheck with a source, AutoOff without.
	Auto   Auto          `json:"auto"`
	Window window.Window `json:"window,omitzero"`
	// CheckEvery is the time between two looks at the source.
	CheckEvery Duration `json:"check-every"`
	// Deadline is the time from the boot of a version on trial by which it
	// must have been found good.
	Deadline Duration `json:"deadline"`
	// HealthyFor is how long it must be healthy without a break to be good.
	HealthyFor Duration `json:"healthy-for"`
	// USB is whether a medium labelled KSOLOUPDATE is looked for.
	USB bool `json:"usb"`
	// Waves is whether the node waits for its turn in a roll-out.
	Waves bool `json:"waves"`
	// Probe is an http or https address that must answer 200 for a version to
	// be good.
	Probe string `json:"probe,omitempty"`
	// CA holds certificates (PEM) to trust for Source besides those of the
	// image.
	CA string `json:"ca,omitempty"`
	// CosignKey is a public key (PEM) that must have signed the artefact of
	// an OCI source.
	CosignKey string `json:"cosign-key,omitempty"`
	// RegistryAuth is the text of a docker configuration. In what
	// [ReadEffective] gives it is hidden: [ReadRegistryAuth] has it.
	RegistryAuth Secret `json:"registry-auth,omitempty"`
}

// UpdatePart is one source's say on updates.
type UpdatePart struct {
	Source       *string        `json:"source,omitempty"`
	Channel      *string        `json:"channel,omitempty"`
	Auto         *Auto          `json:"auto,omitempty"`
	Window       *window.Window `json:"window,omitempty"`
	CheckEvery   *Duration      `json:"check-every,omitempty"`
	Deadline     *Duration      `json:"deadline,omitempty"`
	HealthyFor   *Duration      `json:"healthy-for,omitempty"`
	USB          *bool          `json:"usb,omitempty"`
	Waves        *bool          `json:"waves,omitempty"`
	Probe        *string        `json:"probe,omitempty"`
	CA           *string        `json:"ca,omitempty"`
	CosignKey    *string        `json:"cosign-key,omitempty"`
	RegistryAuth *Secret        `json:"registry-auth,omitempty"`
}

func defaultUpdate() UpdatePart {
	return UpdatePart{
		Channel:    new(DefaultChannel),
		CheckEvery: new(Duration(6 * time.Hour)),
		Deadline:   new(Duration(10 * time.Minute)),
		HealthyFor: new(Duration(30 * time.Second)),
		USB:        new(true),
		Waves:      new(true),
	}
}

func (m merger) update(c *Update, p UpdatePart) {
	set(m, "update.source", &c.Source, p.Source)
	set(m, "update.channel", &c.Channel, p.Channel)
	set(m, "update.auto", &c.Auto, p.Auto)
	set(m, "update.window", &c.Window, p.Window)
	set(m, "update.check-every", &c.CheckEvery, p.CheckEvery)
	set(m, "update.deadline", &c.Deadline, p.Deadline)
	set(m, "update.healthy-for", &c.HealthyFor, p.HealthyFor)
	set(m, "update.usb", &c.USB, p.USB)
	set(m, "update.waves", &c.Waves, p.Waves)
	set(m, "update.probe", &c.Probe, p.Probe)
	set(m, "update.ca", &c.CA, p.CA)
	set(m, "update.cosign-key", &c.CosignKey, p.CosignKey)
	set(m, "update.registry-auth", &c.RegistryAuth, p.RegistryAuth)
}

// settle chooses Auto where no part has: what looks at a source tells of what
// it finds, and changes nothing.
func (u *Update) settle() {
	switch {
	case u.Auto != "":
	case u.Source != "":
		u.Auto = AutoCheck
	default:
		u.Auto = AutoOff
	}
}

// Duration is a time.Duration that is text in JSON: "6h", "90s".
type Duration time.Duration

// String is the shortest form that time.ParseDuration reads.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText gives the form of String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%.40q is not a length of time such as 30s, 10m or 6h", text)
	}
	*d = Duration(v)
	return nil
}
