package ctl

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kubesolo.io/os/internal/config"
)

// hidden stands where a secret was.
const hidden = "(hidden)"

// hider takes secrets out of text: the values that are known to be secret on
// this node, and what looks like one. A log may quote anything.
type hider struct {
	known []string // longest first: one may be the beginning of another
	looks []look
}

type look struct {
	pattern *regexp.Regexp
	with    string
}

func newHider(known []string) hider {
	known = slices.DeleteFunc(slices.Clone(known), func(s string) bool {
		// Shorter ones, and words of every configuration, would hide half
		// of the text, and are no secrets worth the name.
		return len(s) < 4 || s == "true" || s == "false"
	})
	slices.SortFunc(known, func(a, b string) int { return len(b) - len(a) })
	return hider{slices.Compact(known), []look{
		{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`), hidden},
		// A JSON web token: service accounts, bootstrap tokens.
		{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`), hidden},
		{regexp.MustCompile(`(?i)\b(authorization\\?["']?\s*[:=]\s*\\?["']?(?:basic|bearer)?|bearer)\s+[A-Za-z0-9._~+/=-]{4,}`), "$1 " + hidden},
		{regexp.MustCompile(`(?i)(--?[\w-]*(?:password|secret|token|key)[\w-]*)\s+[^\s-]\S*`), "$1 " + hidden},
		// https://user:password@host
		{regexp.MustCompile(`(\w://)[^/\s@"']+@`), "$1" + hidden + "@"},
		{regexp.MustCompile(`(?i)((?:password|passwd|secret|token|api[_-]?key|edge[_-]?key|private[_-]?key|client-key-data|credential)[\w-]*\\?["']?\s*[:=]\s*)(\\?"[^"\\]*\\?"|'[^']*'|[^\s,;}"']+)`), "$1" + hidden},
	}}
}

func (h hider) hide(text []byte) []byte {
	for _, secret := range h.known {
		text = bytes.ReplaceAll(text, []byte(secret), []byte(hidden))
	}
	for _, l := range h.looks {
		text = l.pattern.ReplaceAll(text, []byte(l.with))
	}
	return text
}

// secrets are the values that the configuration of this node keeps secret. What
// has them in the clear is the environment of the program that needs them, and
// for those of registries a file.
func (p Program) secrets(pids []int) []string {
	names := map[string]bool{"KUBESOLO_PORTAINER_EDGE_KEY": true, "KUBESOLO_PORTAINER_EDGE_ID": true}
	c, _, _ := config.ReadEffective(p.RunDir) // as much of it as there is
	for name := range maps.Keys(c.KubeSolo.ExtraEnv) {
		names[name] = true
	}
	auth, _ := config.ReadRegistryAuth(p.RunDir)
	out := registrySecrets(auth)
	for _, pid := range pids {
		env, err := os.ReadFile(p.path(filepath.Join("proc", strconv.Itoa(pid), "environ")))
		if err != nil {
			continue // has ended
		}
		for _, entry := range strings.Split(string(env), "\x00") {
			if name, value, ok := strings.Cut(entry, "="); ok && (names[name] || !public(name)) {
				out = append(out, value)
				// As JSON and as quoted text have it.
				if quoted := strings.Trim(strconv.Quote(value), `"`); quoted != value {
					out = append(out, quoted)
				}
			}
		}
	}
	return out
}

// public tells of a variable that says nothing secret unless the configuration
// says so: what is none of KubeSolo's can only be from there.
func public(name string) bool {
	return name == "PATH" || name == "HOME" || strings.HasPrefix(name, "KUBESOLO_") || strings.HasSuffix(strings.ToLower(name), "_proxy")
}

// registrySecrets are the passwords and tokens of a docker configuration, also
// out of the base64 of user:password.
func registrySecrets(auth config.Secret) []string {
	var file struct{ Auths map[string]map[string]any }
	if json.Unmarshal([]byte(auth.Reveal()), &file) != nil {
		return nil
	}
	var out []string
	for _, entry := range file.Auths {
		for name, v := range entry {
			value, ok := v.(string)
			if !ok || strings.EqualFold(name, "username") {
				continue
			}
			out = append(out, value)
			if login, err := base64.StdEncoding.DecodeString(value); err == nil && strings.EqualFold(name, "auth") {
				_, password, _ := strings.Cut(string(login), ":")
				out = append(out, password)
			}
		}
	}
	return out
}
