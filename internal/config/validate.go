package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// Bounds of an MTU in bytes: 576 is the smallest an IPv4 host must take (RFC 791), 65535 the
// largest packet.
const (
	MinMTU = 576
	MaxMTU = 65535
)

// The ranges inside of the cluster; they are constants of KubeSolo.
const (
	podRange     = "10.42.0.0/16"
	serviceRange = "10.43.0.0/16"
)

// InCluster says what of the cluster may have the same address, "" if nothing.
func InCluster(a netip.Addr) string {
	for what, r := range map[string]string{"pods": podRange, "services": serviceRange} {
		if netip.MustParsePrefix(r).Contains(a) {
			return what + " (" + r + ")"
		}
	}
	return ""
}

// Validate returns every error of the effective configuration, joined, each
// with the origin of the value.
func Validate(c Config, o Origins) error {
	v := validator{origins: o}
	v.check(ValidHostname(c.Hostname), "hostname")
	v.network(c)
	v.kubesolo(c.KubeSolo)
	for _, f := range c.WriteFiles {
		v.check(ValidFilePath(f.Path), "write-files."+f.Path)
	}
	v.access(c)
	v.update(c.Update)
	if (c.Portainer.EdgeID == "") != (c.Portainer.EdgeKey == "") {
		at := "portainer.edge-id"
		if c.Portainer.EdgeID == "" {
			at = "portainer.edge-key"
		}
		v.check(errors.New("edge-id and edge-key go together: set both or none"), at)
	}
	return errors.Join(v.errs...)
}

type validator struct {
	origins Origins
	errs    []error
}

func (v *validator) check(err error, path string) {
	if err == nil {
		return
	}
	from := v.origins[path]
	if from == "" {
		from = v.origins[strings.SplitN(path, ".", 2)[0]]
	}
	if from != "" {
		from = " (from " + from + ")"
	}
	v.errs = append(v.errs, fmt.Errorf("%s: %w%s", path, err, from))
}

func (v *validator) access(c Config) {
	for _, s := range c.NTP.Servers {
		v.check(ValidNTPServer(s), "ntp.servers")
	}
	for _, s := range c.SSH.AuthorizedKeys {
		v.check(ValidAuthorizedKey(s), "ssh.authorized-keys")
	}
	for host, r := range c.Registries {
		at := "registries." + host
		v.check(ValidRegistryHost(host), at)
		for _, m := range r.Mirrors {
			v.check(ValidMirror(m), at)
		}
		if r.CA != "" {
			v.check(ValidCA(r.CA), at)
		}
	}
	for at, p := range map[string]ProxyURL{"proxy.http": c.Proxy.HTTP, "proxy.https": c.Proxy.HTTPS} {
		if p != "" {
			v.check(ValidProxy(p.Reveal()), at)
		}
	}
	for _, s := range c.Proxy.NoProxy {
		v.check(ValidNoProxy(s), "proxy.no-proxy")
	}
}

func (v *validator) network(c Config) {
	for _, p := range CheckNetwork(c.Network) {
		v.check(p.Err, "network."+p.ID)
	}
	for _, l := range c.Network.Links {
		at := "network." + l.ID
		v.check(ValidMTU(l.MTU), at+".mtu")
		for _, a := range l.Addresses {
			if !a.IsValid() || a.Addr().IsUnspecified() || a.Addr().IsMulticast() {
				v.check(fmt.Errorf("%s is not an address of a host", a), at+".addresses")
			}
		}
		for _, r := range l.Routes {
			if r.Via.IsValid() && r.Via.Is4() != r.Dst.Addr().Is4() {
				v.check(fmt.Errorf("route to %s has a gateway of the other family: %s", r.Dst, r.Via), at+".routes")
			}
		}
	}
}

func (v *validator) kubesolo(k KubeSolo) {
	v.check(ValidMTU(k.MTU), "kubesolo.mtu")
	v.check(ValidTimeout(k.StartupTimeout), "kubesolo.startup-timeout")
	if k.NodeIP.IsValid() {
		v.check(ValidNodeIP(k.NodeIP), "kubesolo.node-ip")
	}
	v.check(ValidRuntime(k.Runtime), "kubesolo.runtime")
	for name := range k.ExtraEnv {
		v.check(ValidEnvName(name), "kubesolo.extra-env."+name)
	}
	for _, san := range k.ExtraSANs {
		v.check(ValidSAN(san), "kubesolo.extra-sans")
	}
	if k.LocalStorageSharedPath != "" {
		v.check(ValidPath(k.LocalStorageSharedPath), "kubesolo.local-storage-shared-path")
	}
}

// ValidTimeout checks a number of seconds; 0 means "not set".
func ValidTimeout(seconds int) error {
	if seconds < 0 {
		return fmt.Errorf("%d is not a number of seconds", seconds)
	}
	return nil
}

// ValidNodeIP checks the node's address: KubeSolo's cluster is IPv4 only.
func ValidNodeIP(a netip.Addr) error {
	if !a.Is4() || !a.IsGlobalUnicast() {
		return fmt.Errorf("%s: KubeSolo needs an IPv4 unicast address", a)
	}
	return nil
}

// ValidRuntime checks for one of the known runtimes.
func ValidRuntime(r Runtime) error {
	if r != RuntimeExternal && r != RuntimeBundled {
		return fmt.Errorf("%.100q is neither external nor bundled", string(r))
	}
	return nil
}

// ValidSAN checks a name or address for the API server's certificate.
func ValidSAN(s string) error {
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	return ValidDNSName(strings.TrimPrefix(s, "*."))
}

// ValidPath checks for a clean absolute path.
func ValidPath(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || strings.ContainsRune(p, 0) {
		return fmt.Errorf("%.100q is not a clean absolute path", p)
	}
	return nil
}

// ValidMTU checks an MTU in bytes; 0 means "not set".
func ValidMTU(n int) error {
	if n != 0 && (n < MinMTU || n > MaxMTU) {
		return fmt.Errorf("%d is not between %d and %d", n, MinMTU, MaxMTU)
	}
	return nil
}

// ValidHostname checks for a lower-case RFC 1123 name, since it becomes the
// name of the Kubernetes node, of at most 63 bytes, which is the kernel's
// limit less one.
func ValidHostname(s string) error {
	if len(s) > 63 {
		return fmt.Errorf("%.100q is longer than 63 characters", s)
	}
	return ValidDNSName(s)
}

// ValidDNSName checks for a lower-case RFC 1123 name.
func ValidDNSName(s string) error {
	if s == "" || len(s) > 253 {
		return fmt.Errorf("%.100q is not a host name: it needs 1 to 253 characters", s)
	}
	for label := range strings.SplitSeq(s, ".") {
		bad := func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') }
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") || strings.ContainsFunc(label, bad) {
			return fmt.Errorf("%.100q is not a host name: use lower-case letters, digits and '-' inside labels", s)
		}
	}
	return nil
}

// ValidEnvName checks the name of an environment variable.
func ValidEnvName(s string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_')
	}
	if s == "" || s[0] >= '0' && s[0] <= '9' || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("%.100q is not the name of an environment variable", s)
	}
	return nil
}

// ValidFilePath checks that a file may be written there: the root is
// read-only, so it must be below /run, /etc/kubesolo or /var.
func ValidFilePath(p string) error {
	if err := ValidPath(p); err != nil {
		return err
	}
	for _, dir := range []string{"/run/", "/etc/kubesolo/", "/var/"} {
		if strings.HasPrefix(p, dir) {
			return nil
		}
	}
	return fmt.Errorf("%.100q is on the read-only root: only /run, /etc/kubesolo and /var are writable", p)
}
