package sshd

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// minRSABits is the shortest RSA key that is accepted (NIST SP 800-131A r2).
const minRSABits = 2048

// authorizedKey is a key that opens the node.
type authorizedKey struct {
	blob        []byte // wire format, RFC 4253 section 6.6
	fingerprint string // SHA256:...
	comment     string
}

// keyAlgorithms are the signatures that are accepted: no SHA-1, no DSA.
func keyAlgorithms() []string {
	return []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
}

// readKeys reads the keys of the node's effective configuration. A file that is
// not there has none. Lines that are no usable key are left out and named in
// complaint.
func readKeys(path string) (keys []authorizedKey, complaint string, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	} else if err != nil {
		return nil, "", err
	}
	keys, bad, err := parseKeys(text)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	if len(bad) > 0 {
		complaint = path + ": " + errors.Join(bad...).Error()
	}
	return keys, complaint, nil
}

func parseKeys(text []byte) (keys []authorizedKey, bad []error, err error) {
	var config struct {
		SSH struct {
			AuthorizedKeys []string `json:"authorized-keys"`
		} `json:"ssh"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, nil, err
	}
	for i, entry := range config.SSH.AuthorizedKeys {
		for line := range strings.Lines(entry) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			key, err := parseKey(line)
			if err != nil {
				bad = append(bad, fmt.Errorf("authorized key %d: %w", i+1, err))
				continue
			}
			keys = append(keys, key)
		}
	}
	return keys, bad, nil
}

// parseKey parses one line of an authorized_keys file. A line with options is
// refused: each of them restricts what the key may do, and what is not obeyed
// must not look as if it were.
func parseKey(line string) (authorizedKey, error) {
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return authorizedKey{}, errors.New("not a public key: want a line such as ssh-ed25519 AAAA... name")
	}
	if len(options) > 0 {
		return authorizedKey{}, fmt.Errorf("the option %.40q before the key is not supported: leave it out", options[0])
	}
	if !slices.Contains(keyAlgorithms(), signature(key.Type())) {
		return authorizedKey{}, fmt.Errorf("keys of type %s are not accepted: use ssh-ed25519", key.Type())
	}
	if bits := rsaBits(key); bits > 0 && bits < minRSABits {
		return authorizedKey{}, fmt.Errorf("an RSA key of %d bits is too short: want %d, or ssh-ed25519", bits, minRSABits)
	}
	return authorizedKey{blob: key.Marshal(), fingerprint: ssh.FingerprintSHA256(key), comment: comment}, nil
}

// signature is the best algorithm for a type of keys.
func signature(keyType string) string {
	if keyType == ssh.KeyAlgoRSA {
		return ssh.KeyAlgoRSASHA512
	}
	return keyType
}

// rsaBits is the size of an RSA key, 0 for any other.
func rsaBits(key ssh.PublicKey) int {
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok {
			return r.N.BitLen()
		}
	}
	return 0
}

func findKey(keys []authorizedKey, offered ssh.PublicKey) (authorizedKey, bool) {
	blob := offered.Marshal()
	i := slices.IndexFunc(keys, func(k authorizedKey) bool { return bytes.Equal(k.blob, blob) })
	if i < 0 {
		return authorizedKey{}, false
	}
	return keys[i], true
}

func hasFingerprint(keys []authorizedKey, fingerprint string) bool {
	return slices.ContainsFunc(keys, func(k authorizedKey) bool { return k.fingerprint == fingerprint })
}
