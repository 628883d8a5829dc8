package config

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Registry says how images of one registry are fetched.
type Registry struct {
	// Mirrors are asked in order before the registry itself.
	Mirrors []string `json:"mirrors,omitempty"`
	// SkipVerify trusts any certificate of the mirrors, or of the registry
	// when there is no mirror.
	SkipVerify bool `json:"skip-verify,omitempty"`
	// CA holds certificates (PEM) to trust besides those of the image, of
	// the same servers.
	CA string `json:"ca,omitempty"`
}

// RegistryDir is where containerd looks for what it is told about registries.
const RegistryDir = "/etc/kubesolo/registry"

// caFile is named in hosts.toml relative to it.
const caFile = "ca.crt"

// RegistryMark is the first line of the files that RegistryFiles makes. A file
// with it may be removed once its registry is no longer configured.
const RegistryMark = "# Written at boot from registries: of the configuration.\n"

// RegistryFiles are the files that make containerd obey c.Registries: for each
// a hosts.toml (containerd's docs/hosts.md), and its certificates.
func RegistryFiles(registries map[string]Registry) []File {
	const mode fs.FileMode = 0o644
	var out []File
	for _, host := range slices.Sorted(maps.Keys(registries)) {
		r, dir := registries[host], RegistryDir+"/"+host
		out = append(out, File{Path: dir + "/hosts.toml", Content: []byte(hostsTOML(r)), Permissions: mode})
		if r.CA != "" {
			out = append(out, File{Path: dir + "/" + caFile, Content: []byte(r.CA), Permissions: mode})
		}
	}
	return out
}

func hostsTOML(r Registry) string {
	var b strings.Builder
	b.WriteString(RegistryMark)
	settings := func(indent string) {
		if r.CA != "" {
			fmt.Fprintf(&b, "%sca = \"%s\"\n", indent, caFile)
		}
		if r.SkipVerify {
			fmt.Fprintf(&b, "%sskip_verify = true\n", indent)
		}
	}
	if len(r.Mirrors) == 0 {
		settings("")
	}
	for _, mirror := range r.Mirrors {
		fmt.Fprintf(&b, "\n[host.%s]\n  capabilities = [\"pull\", \"resolve\"]\n", strconv.Quote(mirror))
		// A project of a registry that proxies others is named by its whole
		// path: without this containerd would add another /v2.
		if u, err := url.Parse(mirror); err == nil && strings.HasPrefix(u.Path, "/v2/") {
			b.WriteString("  override_path = true\n")
		}
		settings("  ")
	}
	return b.String()
}

// ValidRegistryHost checks what an image's name begins with: a host name or
// address, with a port if it has one, or _default for all other registries.
func ValidRegistryHost(s string) error {
	if s == "_default" {
		return nil
	}
	u, err := url.Parse("https://" + s)
	if err != nil || u.Host != s || validHost(u) != nil {
		return fmt.Errorf("%.100q is not a registry; write its host as image names have it, such as docker.io or registry.example:5000", s)
	}
	return nil
}

// ValidMirror checks the address of a mirror.
func ValidMirror(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || validHost(u) != nil || !plainURL(s) {
		return fmt.Errorf("%.100q is not a mirror; write https://host, https://host:port or with a path", hideUser(s))
	}
	return nil
}

// plainURL: what is quoted into TOML must read the same there.
func plainURL(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// validHost checks host and port of an address.
func validHost(u *url.URL) error {
	port := u.Port()
	if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) || strings.HasSuffix(u.Host, ":") {
		return errors.New("bad port")
	}
	return ValidSAN(u.Hostname())
}

// ValidCA checks for one certificate (PEM) or more, and nothing else: a key
// does not belong here.
func ValidCA(s string) error {
	_, other, whole := pemBlocks(s, "CERTIFICATE")
	if other != "" {
		return fmt.Errorf("it holds a %.40s, which does not belong here; give certificates only", other)
	}
	if !whole {
		return errors.New("this is not a certificate in PEM; use a block (ca: |) that holds the lines from BEGIN CERTIFICATE to END CERTIFICATE")
	}
	return nil
}

// pemBlocks counts the PEM blocks of s that are of the wanted type. other is the
// type of the first that is not; whole is false when one is damaged, or there is
// none. What is in the blocks is not looked at: PID 1 links no crypto.
func pemBlocks(s, wanted string) (count int, other string, whole bool) {
	rest := []byte(s)
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return count, "", count > 0 && count == strings.Count(s, "-----BEGIN")
		}
		if block.Type != wanted {
			return count, block.Type, false
		}
		count++
	}
}
