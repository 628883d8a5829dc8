package config_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/update/window"
)

// Made by OpenSSH's ssh-keygen.
const (
	ed25519Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOJy/PyJEcpNcJwI1d7Q6NH9rWo4NBjgDCjVIVWzqb3s ops@plant.example"
	ecdsaKey   = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBBYxM9Rhk0yslLSJuiKO9xFC+1vQpOM5gi5zRzKmWrS0oyO08732t1OeCk8251UkyS60AvDDX/oEJ6jgc3yfna0="
)

func TestValidAuthorizedKey(t *testing.T) {
	for _, s := range []string{ed25519Key, ecdsaKey, "  " + ed25519Key + " and a comment of words"} {
		if err := config.ValidAuthorizedKey(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	body := strings.Fields(ed25519Key)[1]
	for s, hint := range map[string]string{
		"":                               "is empty",
		body:                             "no type of key",
		"ssh-dss AAAA":                   "it is one of",
		"ssh-ed25519":                    "there is no key",
		"ssh-ed25519 ops@plant":          "damaged",
		"ssh-rsa " + body:                "not ssh-rsa",
		"ssh-ed25519 " + body[:60]:       "not whole",
		"ssh-ed25519 " + body[:59]:       "damaged",
		`from="192.0.2.1" ` + ed25519Key: "begin with ssh-ed25519",
		"-----BEGIN OPENSSH PRIVATE KEY----- b3Blb": "private key",
		ed25519Key + "\n" + ecdsaKey:                "one line",
	} {
		if err := config.ValidAuthorizedKey(s); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v, want %q", s, err, hint)
		}
	}
}

func FuzzValidAuthorizedKey(f *testing.F) {
	for _, s := range []string{ed25519Key, ecdsaKey, "ssh-rsa AAAAB3NzaC1yc2E=", "ssh-ed25519 /////w=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := config.ValidAuthorizedKey(s); err != nil && len(err.Error()) > 400 {
			t.Errorf("a message of %d bytes", len(err.Error()))
		} else if err == nil && strings.ContainsAny(s, "\r\n") {
			t.Errorf("a key of two lines: %q", s)
		}
	})
}

func TestValidNTPServer(t *testing.T) {
	for s, valid := range map[string]bool{
		"ntp.plant.example": true, "192.0.2.1": true, "2001:db8::1": true, "0.pool.ntp.org": true,
		"": false, "ntp:123": false, "ntp://x": false, "fe80::1%eth0": false, "a b": false,
	} {
		if err := config.ValidNTPServer(s); (err == nil) != valid {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestProxyEnv(t *testing.T) {
	if env := config.ProxyEnv(config.Proxy{NoProxy: []string{"x"}}, netip.Addr{}); env != nil {
		t.Errorf("without a proxy: %v", env)
	}
	p := config.Proxy{HTTP: "http://u:geheim@proxy.example:3128", HTTPS: "http://proxy.example:3128", NoProxy: []string{".plant.example", "localhost"}}
	want := []string{
		"HTTP_PROXY=http://u:geheim@proxy.example:3128",
		"HTTPS_PROXY=http://proxy.example:3128",
		"NO_PROXY=localhost,127.0.0.0/8,10.42.0.0/16,10.43.0.0/16,.svc,.cluster.local,192.0.2.7,.plant.example",
	}
	if got := config.ProxyEnv(p, netip.MustParseAddr("192.0.2.7")); !slices.Equal(got, want) {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	c := config.Config{Proxy: p}
	env := config.KubeSoloEnv(c, netip.MustParseAddr("192.0.2.7"))
	for _, v := range want {
		if !slices.Contains(env, v) {
			t.Errorf("KubeSolo does not get %s", v)
		}
	}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{string(j), fmt.Sprint(c), fmt.Sprintf("%+v %#v %q", c, c, p.HTTP)} {
		if strings.Contains(s, "geheim") || !strings.Contains(s, "proxy.example:3128") {
			t.Errorf("the password is shown, or the proxy is not: %s", s)
		}
	}
	for s, valid := range map[string]bool{
		"http://proxy.example:3128": true, "https://u:geheim@[2001:db8::1]:8443": true, "socks5://10.0.0.1:1080": true, "http://proxy.example:3128/": true,
		"proxy.example:3128": false, "http://": false, "http://u:geheim@p:x": false, "ftp://p": false, "http://p/path": false, "": false,
	} {
		if err := config.ValidProxy(s); (err == nil) != valid {
			t.Errorf("proxy %q: %v", s, err)
		} else if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("password printed: %v", err)
		}
	}
	for s, valid := range map[string]bool{
		".plant.example": true, "host": true, "192.0.2.0/24": true, "192.0.2.1": true, "*.x.example": true, "": false, "http://x": false, "a b": false,
	} {
		if err := config.ValidNoProxy(s); (err == nil) != valid {
			t.Errorf("no-proxy %q: %v", s, err)
		}
	}
}

// whole is a Config with a value in every field of the parts of access, and
// secrets where secrets can be.
func whole() config.Part {
	return config.Part{
		Source:     "whole.yaml",
		NTP:        config.NTPPart{Servers: &[]string{"ntp.example"}, Disabled: new(false)},
		SSH:        config.SSHPart{AuthorizedKeys: &[]string{ed25519Key}},
		Registries: map[string]config.Registry{"docker.io": {Mirrors: []string{"https://m.example"}, SkipVerify: true}},
		Proxy: config.ProxyPart{HTTP: new(config.ProxyURL("http://u:geheim@p.example:1")), HTTPS: new(config.ProxyURL("http://u:geheim@p.example:2")),
			NoProxy: &[]string{".example"}},
		KubeSolo:   config.KubeSoloPart{ExtraEnv: map[string]config.Secret{"TOKEN": "geheim"}},
		Portainer:  config.PortainerPart{EdgeID: new("7"), EdgeKey: new(config.Secret("geheim"))},
		WriteFiles: []config.File{{Path: "/run/x", Content: []byte("geheim"), Permissions: 0o600}},
		Update: config.UpdatePart{
			Source: new("oci://registry.plant.example/os"), Channel: new("beta"), Auto: new(config.AutoDownload), Window: new(sundays()),
			CheckEvery: new(config.Duration(time.Hour)), Deadline: new(config.Duration(5 * time.Minute)), HealthyFor: new(config.Duration(time.Minute)),
			USB: new(false), Waves: new(false), Probe: new("http://127.0.0.1/"), CA: new(certificate()), CosignKey: new(publicKey()),
			RegistryAuth: new(config.Secret(registryAuth)),
		},
	}
}

func sundays() window.Window {
	w, err := window.Parse("Sun 01:00-05:00")
	if err != nil {
		panic(err)
	}
	return w
}

func certificate() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("shape only")}))
}

func TestEffectiveHidesSecrets(t *testing.T) {
	c, o := config.Merge(config.Defaults(), whole())
	if err := config.Validate(c, o); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := config.WriteEffective(dir, c, o); err != nil {
		t.Fatal(err)
	}
	got, origins, err := config.ReadEffective(dir)
	if err != nil || !reflect.DeepEqual(origins, o) {
		t.Errorf("%v, origins %v", err, origins)
	}
	text := fmt.Sprint(got.Portainer.EdgeKey.Reveal(), got.KubeSolo.ExtraEnv["TOKEN"].Reveal(), got.Proxy.HTTP.Reveal(), got.Update.RegistryAuth.Reveal(), string(got.WriteFiles[0].Content))
	if strings.Contains(text, "geheim") {
		t.Errorf("a secret is in the file: %s", text)
	}
	if !reflect.DeepEqual(got.SSH, c.SSH) || !reflect.DeepEqual(got.NTP, c.NTP) || !reflect.DeepEqual(got.Network, c.Network) {
		t.Errorf("other programs read %+v", got)
	}
	want := c.Update
	want.RegistryAuth = "(hidden)"
	if got.Update != want {
		t.Errorf("the agent reads %+v, want %+v", got.Update, want)
	}
	if string(c.WriteFiles[0].Content) != "geheim" {
		t.Error("the configuration itself has lost the content of a file")
	}
	for _, key := range []string{"ntp.servers", "ntp.disabled", "ssh.authorized-keys", "registries.docker.io", "proxy.http", "proxy.https", "proxy.no-proxy",
		"update.source", "update.channel", "update.auto", "update.window", "update.check-every", "update.deadline", "update.healthy-for", "update.usb",
		"update.waves", "update.probe", "update.ca", "update.cosign-key", "update.registry-auth"} {
		if o[key] != "whole.yaml" {
			t.Errorf("origin of %s: %q", key, o[key])
		}
	}
}

func TestLastGoodKeepsSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "good.json")
	want := whole()
	if err := config.Save(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}
