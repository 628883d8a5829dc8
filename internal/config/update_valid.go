package config

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

func (v *validator) update(u Update) {
	text := func(s, at string, check func(string) error) {
		if s != "" {
			v.check(check(s), at)
		}
	}
	v.check(ValidUpdateSource(u.Source), "update.source")
	v.check(ValidChannel(u.Channel), "update.channel")
	if !slices.Contains(Autos(), string(u.Auto)) {
		v.check(fmt.Errorf("%.100q is not one of %s", string(u.Auto), strings.Join(Autos(), ", ")), "update.auto")
	}
	v.check(ValidCheckEvery(u.CheckEvery), "update.check-every")
	v.check(ValidDeadline(u.Deadline), "update.deadline")
	v.check(ValidHealthyFor(u.HealthyFor), "update.healthy-for")
	v.check(ValidProbe(u.Probe), "update.probe")
	text(u.CA, "update.ca", ValidCA)
	text(u.CosignKey, "update.cosign-key", ValidPublicKey)
	text(u.RegistryAuth.Reveal(), "update.registry-auth", ValidRegistryAuth)
	if u.HealthyFor >= u.Deadline {
		v.check(fmt.Errorf("%v is not shorter than the deadline of %v: no version could ever be found good in time", u.HealthyFor, u.Deadline), "update.healthy-for")
	}
	if u.Auto != AutoOff && u.Source == "" && !u.USB {
		v.check(fmt.Errorf("there is nowhere to look for updates; set source, or usb: true, or auto: %s", AutoOff), "update.auto")
	}
}

// ValidUpdateSource checks the address that updates come from; "" is none.
func ValidUpdateSource(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || !slices.Contains([]string{"https", "http", "oci"}, u.Scheme) || !plainAddress(s, u) || strings.ContainsAny(s, "?#") {
		return fmt.Errorf("%.100q is not where updates come from; write https://host/path, http://host/path or oci://registry/repository", hideUser(s))
	}
	if u.User != nil {
		return fmt.Errorf("%.100q: no user and no password in an address, which is shown; put them into registry-auth", hideUser(s))
	}
	if u.Scheme != "oci" {
		return nil
	}
	repository := strings.TrimPrefix(u.Path, "/")
	if strings.ContainsAny(repository, ":@") {
		return fmt.Errorf("%.100q has a tag or digest; leave it out, the channel is the tag", s)
	}
	if !validRepository(repository) {
		return fmt.Errorf("%.100q names no repository; write oci://registry/repository, the repository in lower-case letters, digits, '.', '_', '-' and '/'", s)
	}
	return nil
}

// plainAddress checks what every address has: a scheme as it is written here,
// a host, and no character that would have to be quoted.
func plainAddress(s string, u *url.URL) bool {
	return strings.HasPrefix(s, u.Scheme+"://") && plainURL(s) && validHost(u) == nil && !strings.Contains(u.Host, "*")
}

// validRepository checks for a name as registries have it (OCI distribution
// specification 1.1, "Pulling manifests").
func validRepository(s string) bool {
	if len(s) > 255 {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || !alphanumeric(rune(part[0])) || !alphanumeric(rune(part[len(part)-1])) {
			return false
		}
		for _, between := range strings.FieldsFunc(part, alphanumeric) {
			if between != "." && between != "_" && between != "__" && strings.Trim(between, "-") != "" {
				return false
			}
		}
	}
	return true
}

func alphanumeric(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' }

// ValidChannel checks the name of a channel, which is a tag of a registry as
// well.
func ValidChannel(s string) error {
	bad := func(r rune) bool { return !alphanumeric(r) && r != '.' && r != '-' }
	if s == "" || len(s) > 32 || !alphanumeric(rune(s[0])) || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("%.100q is not the name of a channel: 1 to 32 lower-case letters, digits, '.' and '-', such as stable", s)
	}
	return nil
}

// ValidProbe checks the address that is asked before a version is called good;
// "" is none.
func ValidProbe(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !plainAddress(s, u) || strings.Contains(s, "#") {
		return fmt.Errorf("%.100q is not an address that can be asked; write http://host/path or https://host/path", hideUser(s))
	}
	if u.User != nil {
		return fmt.Errorf("%.100q: no user and no password in an address, which is shown; name one that answers without", hideUser(s))
	}
	return nil
}

// ValidCheckEvery bounds how often a source is asked.
func ValidCheckEvery(d Duration) error { return between(d, 10*time.Minute, 168*time.Hour) }

// ValidDeadline bounds the time that a version on trial has.
func ValidDeadline(d Duration) error { return between(d, 2*time.Minute, 2*time.Hour) }

// ValidHealthyFor bounds how long a version must be healthy to be good.
func ValidHealthyFor(d Duration) error { return between(d, 10*time.Second, 30*time.Minute) }

func between(d Duration, lo, hi time.Duration) error {
	if d < Duration(lo) || d > Duration(hi) {
		return fmt.Errorf("%v is not between %v and %v", d, Duration(lo), Duration(hi))
	}
	return nil
}

// ValidPublicKey checks for one public key (PEM) and nothing else.
func ValidPublicKey(s string) error {
	count, other, whole := pemBlocks(s, "PUBLIC KEY")
	switch {
	case strings.Contains(other, "PRIVATE KEY"):
		return errors.New("this is a private key, which nobody but its owner may have; give the public one (cosign.pub)")
	case other != "":
		return fmt.Errorf("it holds a %.40s; give the one public key (cosign.pub)", other)
	case !whole || count != 1:
		return errors.New("this is not one public key in PEM; use a block (cosign-key: |) that holds the lines from BEGIN PUBLIC KEY to END PUBLIC KEY")
	}
	return nil
}

// ValidRegistryAuth checks the text of a docker configuration: entries of auths
// that hold a password or a token. No error shows more of it than the names of
// registries.
func ValidRegistryAuth(s string) error {
	const hint = "paste the config.json that docker login wrote on a machine without a credential helper"
	var file struct {
		Auths map[string]struct{ Auth, Password, IdentityToken, RegistryToken string }
	}
	if json.Unmarshal([]byte(s), &file) != nil {
		return errors.New("this is not the JSON of a docker configuration; " + hint)
	}
	if len(file.Auths) == 0 {
		return errors.New("there is no entry in its auths; " + hint)
	}
	for _, registry := range slices.Sorted(maps.Keys(file.Auths)) {
		e := file.Auths[registry]
		if e.Auth+e.Password+e.IdentityToken+e.RegistryToken == "" {
			return fmt.Errorf("there is no password for %.100q; %s", registry, hint)
		}
		if login, err := base64.StdEncoding.DecodeString(e.Auth); err != nil || e.Auth != "" && !strings.Contains(string(login), ":") {
			return fmt.Errorf("the auth of %.100q is damaged: it is the base64 of user:password", registry)
		}
	}
	return nil
}
