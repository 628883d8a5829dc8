package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ProxyURL is the address of a proxy; a user and password in it are never
// printed.
type ProxyURL string

// String hides user and password; [ProxyURL.Reveal] gives them.
func (p ProxyURL) String() string { return hideUser(string(p)) }

// GoString hides user and password from %#v.
func (p ProxyURL) GoString() string { return `"` + p.String() + `"` }

// MarshalJSON hides user and password.
func (p ProxyURL) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }

// Reveal returns the whole address.
func (p ProxyURL) Reveal() string { return string(p) }

func hideUser(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	scheme, _, ok := strings.Cut(address[:at], "://")
	if !ok {
		return "(hidden)" + address[at:]
	}
	return scheme + "://(hidden)" + address[at:]
}

// Proxy is what containerd, KubeSolo and the node's agent reach other servers
// through.
type Proxy struct {
	HTTP  ProxyURL `json:"http,omitempty"`
	HTTPS ProxyURL `json:"https,omitempty"`
	// NoProxy: names, domains with a leading dot, addresses and ranges.
	NoProxy []string `json:"no-proxy,omitempty"`
}

// ProxyPart is one source's say on proxies.
type ProxyPart struct {
	HTTP    *ProxyURL `json:"http,omitempty"`
	HTTPS   *ProxyURL `json:"https,omitempty"`
	NoProxy *[]string `json:"no-proxy,omitempty"`
}

// ProxyEnv are the variables of the services that reach other servers; none
// when there is no proxy. What is inside of the node never goes through one:
// the ranges are KubeSolo's own constants.
func ProxyEnv(p Proxy, nodeIP netip.Addr) []string {
	if p.HTTP == "" && p.HTTPS == "" {
		return nil
	}
	var env []string
	if p.HTTP != "" {
		env = append(env, "HTTP_PROXY="+p.HTTP.Reveal())
	}
	if p.HTTPS != "" {
		env = append(env, "HTTPS_PROXY="+p.HTTPS.Reveal())
	}
	direct := []string{"localhost", "127.0.0.0/8", podRange, serviceRange, ".svc", ".cluster.local"}
	if nodeIP.IsValid() {
		direct = append(direct, nodeIP.String())
	}
	for _, s := range p.NoProxy {
		if !slices.Contains(direct, s) {
			direct = append(direct, s)
		}
	}
	return append(env, "NO_PROXY="+strings.Join(direct, ","))
}

// ValidProxy checks the address of a proxy.
func ValidProxy(s string) error {
	u, err := url.Parse(s)
	if err != nil || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) || validHost(u) != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, " \n\x00") {
		return fmt.Errorf("%.100q is not the address of a proxy; write http://host:port", hideUser(s))
	}
	return nil
}

// ValidNoProxy checks for a name, a domain (.example.org), an address, or a
// range (192.0.2.0/24).
func ValidNoProxy(s string) error {
	if _, err := netip.ParsePrefix(s); err == nil {
		return nil
	}
	if ValidSAN(strings.TrimPrefix(s, ".")) != nil {
		return fmt.Errorf("%.100q is not a name, a domain such as .example.org, an address or a range such as 192.0.2.0/24", s)
	}
	return nil
}
