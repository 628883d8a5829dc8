package config

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NTP says where the time comes from. The zero value leaves it to the lease
// of the network, and then to the servers of the image.
type NTP struct {
	Servers  []string `json:"servers,omitempty"`
	Disabled bool     `json:"disabled,omitempty"`
}

// NTPPart is one source's say on the time.
type NTPPart struct {
	Servers  *[]string `json:"servers,omitempty"`
	Disabled *bool     `json:"disabled,omitempty"`
}

// SSH lets people in. Without a key there is no SSH server.
type SSH struct {
	// AuthorizedKeys are lines of the form "type base64 comment".
	AuthorizedKeys []string `json:"authorized-keys,omitempty"`
}

// SSHPart is one source's say on SSH.
type SSHPart struct {
	AuthorizedKeys *[]string `json:"authorized-keys,omitempty"`
}

// ValidNTPServer checks for a host name or an address.
func ValidNTPServer(s string) error {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return nil
	}
	if ValidDNSName(s) != nil {
		return fmt.Errorf("%q is neither a host name nor an address; write ntp.example.org or 192.0.2.1, without a port", s)
	}
	return nil
}

func keyTypes() []string {
	return []string{"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa",
		"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"}
}

// ValidAuthorizedKey checks a public key as it is in a .pub file: the type is
// known, the base64 is whole, and the key inside is of that type. Options
// before the type are refused, since nothing would obey them.
func ValidAuthorizedKey(s string) error {
	const hint = "paste the one line of the .pub file"
	if strings.ContainsAny(s, "\n\r") {
		return errors.New("a key is one line; " + hint)
	}
	if strings.Contains(s, "PRIVATE KEY") {
		return errors.New("this is a private key; " + hint)
	}
	f := strings.Fields(s)
	if len(f) == 0 {
		return errors.New("the key is empty; " + hint)
	}
	types := keyTypes()
	if !slices.Contains(types, f[0]) {
		if slices.ContainsFunc(f[1:], func(word string) bool { return slices.Contains(types, word) }) {
			return fmt.Errorf("options before the type of the key are not supported; begin with %s", firstKnown(f, types))
		}
		return fmt.Errorf("%.40q is no type of key that is accepted; it is one of %s", f[0], strings.Join(types, ", "))
	}
	if len(f) < 2 {
		return fmt.Errorf("after %s there is no key; %s", f[0], hint)
	}
	blob, err := base64.StdEncoding.DecodeString(f[1])
	if err != nil {
		return fmt.Errorf("the base64 of the %s key is damaged; %s", f[0], hint)
	}
	fields, whole := sshFields(blob)
	if len(fields) < 2 || !whole {
		return fmt.Errorf("the %s key is not whole; %s", f[0], hint)
	}
	if string(fields[0]) != f[0] {
		return fmt.Errorf("the key says that it is of type %.40q, not %s; %s", fields[0], f[0], hint)
	}
	return nil
}

func firstKnown(words, types []string) string {
	return words[slices.IndexFunc(words, func(w string) bool { return slices.Contains(types, w) })]
}

// sshFields splits a blob of strings that each follow their length (RFC 4251,
// section 5); whole is false when the last is cut off.
func sshFields(b []byte) (fields [][]byte, whole bool) {
	for len(b) >= 4 {
		n := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(n) > uint64(len(b)) {
			return fields, false
		}
		fields, b = append(fields, b[:n]), b[n:]
	}
	return fields, len(b) == 0
}
