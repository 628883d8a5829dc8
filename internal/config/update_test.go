package config_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/config"
)

const registryAuth = `{"auths": {"registry.plant.example": {"username": "node", "password": "geheim"}}}`

func publicKey() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("shape only")}))
}

func TestUpdateDefaults(t *testing.T) {
	for name, test := range map[string]struct {
		part config.UpdatePart
		auto config.Auto
	}{
		"nothing said":       {config.UpdatePart{}, config.AutoOff},
		"a source":           {config.UpdatePart{Source: new("https://u.example")}, config.AutoCheck},
		"a source taken off": {config.UpdatePart{Source: new("")}, config.AutoOff},
		"off":                {config.UpdatePart{Source: new("https://u.example"), Auto: new(config.AutoOff)}, config.AutoOff},
		"a medium, applied":  {config.UpdatePart{Auto: new(config.AutoApply)}, config.AutoApply},
	} {
		c, o := config.Merge(config.Defaults(), config.Part{Source: "x", Update: test.part})
		if err := config.Validate(c, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.Update.Auto != test.auto {
			t.Errorf("%s: auto is %s, want %s", name, c.Update.Auto, test.auto)
		}
	}
	c, _ := config.Merge(config.Defaults())
	u := c.Update
	if u.Channel != "stable" || u.CheckEvery != config.Duration(6*time.Hour) || u.Deadline != config.Duration(10*time.Minute) ||
		u.HealthyFor != config.Duration(30*time.Second) || !u.USB || !u.Waves || !u.Window.Always() || u.Source != "" {
		t.Errorf("%+v", u)
	}
}

func TestUpdateAsAWhole(t *testing.T) {
	for name, test := range map[string]struct {
		part  config.UpdatePart
		wants []string
	}{
		"never good in time": {
			config.UpdatePart{HealthyFor: new(config.Duration(10 * time.Minute))},
			[]string{"update.healthy-for: 10m is not shorter than the deadline of 10m: no version could ever be found good in time (from box.yaml)"},
		},
		"nowhere to look": {
			config.UpdatePart{USB: new(false), Auto: new(config.AutoApply)},
			[]string{"update.auto: there is nowhere to look for updates; set source, or usb: true, or auto: off (from box.yaml)"},
		},
		"only by hand": {config.UpdatePart{USB: new(false)}, nil},
		"everything": {
			config.UpdatePart{Source: new("oci://r"), Channel: new("A"), Auto: new(config.Auto("on")), CheckEvery: new(config.Duration(1)), Deadline: new(config.Duration(-1)),
				HealthyFor: new(config.Duration(time.Hour)), Probe: new("x"), CA: new("x"), CosignKey: new("x"), RegistryAuth: new(config.Secret("geheim"))},
			[]string{"update.source: ", "update.channel: ", `update.auto: "on" is not one of`, "update.check-every: 1ns is not between 10m and 168h", "update.deadline: -1ns",
				"update.healthy-for: 1h is not between 10s and 30m", "update.probe: ", "update.ca: ", "update.cosign-key: ", "update.registry-auth: ", "update.healthy-for: 1h is not shorter"},
		},
	} {
		c, o := config.Merge(config.Defaults(), config.Part{Source: "box.yaml", Update: test.part})
		err := config.Validate(c, o)
		if (err == nil) != (len(test.wants) == 0) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil {
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(test.wants) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %d errors, want %d:\n%v", name, len(lines), len(test.wants), err)
			continue
		}
		for i, want := range test.wants {
			if !strings.HasPrefix(lines[i], want) || !strings.HasSuffix(lines[i], "(from box.yaml)") {
				t.Errorf("%s: %s\nwant %s", name, lines[i], want)
			}
		}
	}
}

func TestValidUpdateSource(t *testing.T) {
	for s, hint := range map[string]string{
		"": "", "https://u.example": "", "https://u.example/": "", "https://u.example:8443/kubesolo-os/stable": "", "http://192.0.2.5/os": "",
		"https://[2001:db8::1]:8443/a%20b": "", "oci://ghcr.io/plant/kubesolo-os": "", "oci://192.0.2.5:5000/os": "", "oci://r.example/a.b/c_d/e__f/g--h": "",

		"u.example/os":                                "write https://host/path",
		"/srv/updates":                                "write https://host/path",
		"ftp://u.example/os":                          "oci://registry/repository",
		"HTTPS://u.example":                           "is not where updates come from",
		"https://":                                    "is not where updates come from",
		"https://u.example:0/":                        "is not where updates come from",
		"https://*.example/":                          "is not where updates come from",
		"https://u.example/os?token=x":                "is not where updates come from",
		"https://u.example/os?":                       "is not where updates come from",
		"https://u.example/os#a":                      "is not where updates come from",
		"https://u.example/a b":                       "is not where updates come from",
		"https://u.example/a\nb":                      "is not where updates come from",
		"https://node:geheim@u.example/os":            "put them into registry-auth",
		"oci://node:geheim@u.example/os":              "put them into registry-auth",
		"https://node:geheim@u.example/os?":           "is not where updates come from",
		"oci://u.example":                             "names no repository",
		"oci://u.example/":                            "names no repository",
		"oci://u.example/Os":                          "names no repository",
		"oci://u.example/os/":                         "names no repository",
		"oci://u.example//os":                         "names no repository",
		"oci://u.example/a..b":                        "names no repository",
		"oci://u.example/a._b":                        "names no repository",
		"oci://u.example/a___b":                       "names no repository",
		"oci://u.example/-a":                          "names no repository",
		"oci://u.example/a-":                          "names no repository",
		"oci://u.example/os:stable":                   "the channel is the tag",
		"oci://u.example/os@sha256:00":                "the channel is the tag",
		"oci://u.example/" + strings.Repeat("a", 256): "names no repository",
	} {
		err := config.ValidUpdateSource(s)
		if (err == nil) != (hint == "") || err != nil && !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v, want %q", s, err, hint)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("password printed: %v", err)
		}
	}
}

func FuzzValidUpdateSource(f *testing.F) {
	for _, s := range []string{"", "https://u.example/os", "oci://r.example:5000/a/b__c", "http://u:geheim@h/", "oci://h/os:tag"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := config.ValidUpdateSource(s); err != nil && (len(err.Error()) > 700 || strings.ContainsAny(err.Error(), "\r\n")) {
			t.Errorf("not one short line: %q", err)
		} else if err == nil && strings.ContainsAny(s, "@ \"'\\?#\n") && !strings.HasPrefix(s, "http") {
			t.Errorf("accepted: %q", s)
		}
	})
}

func TestUpdateValues(t *testing.T) {
	for s, valid := range map[string]bool{
		"stable": true, "1.2": true, "a-b.c": true, strings.Repeat("a", 32): true,
		"": false, strings.Repeat("a", 33): false, "Stable": false, "-a": false, ".a": false, "a_b": false, "a/b": false, "ä": false,
	} {
		if err := config.ValidChannel(s); (err == nil) != valid {
			t.Errorf("channel %q: %v", s, err)
		}
	}
	for s, valid := range map[string]bool{
		"": true, "http://127.0.0.1:8080/healthz": true, "https://app.plant.example/?deep=1": true,
		"127.0.0.1": false, "tcp://127.0.0.1:80": false, "http://u:geheim@h/": false, "http://h/#a": false, "http:///x": false,
	} {
		if err := config.ValidProbe(s); (err == nil) != valid || err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("probe %q: %v", s, err)
		}
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("geheim")}))
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	for s, hint := range map[string]string{
		publicKey(): "", "": "not one public key", "x": "cosign-key: |", publicKey() + publicKey(): "not one public key", private: "is a private key",
		publicKey() + private: "is a private key", certificate: "holds a CERTIFICATE", publicKey() + "-----BEGIN PUBLIC KEY-----\nAA": "not one public key",
	} {
		err := config.ValidPublicKey(s)
		if (err == nil) != (hint == "") || err != nil && (!strings.Contains(err.Error(), hint) || strings.Contains(err.Error(), "Z2VoZWlt")) {
			t.Errorf("public key %q: %v, want %q", s, err, hint)
		}
	}
	for s, hint := range map[string]string{
		registryAuth: "",
		`{"auths":{"r":{"auth":"bm9kZTpnZWhlaW0="}},"credsStore":"desktop"}`: "",
		`{"auths":{"r":{"identitytoken":"geheim"}}}`:                         "",
		"":                                    "not the JSON",
		"geheim":                              "not the JSON",
		`{"auths":{"r":"geheim"}}`:            "not the JSON",
		`{"r":{"auth":"bm9kZTpnZWhlaW0="}}`:   "no entry in its auths; paste the config.json",
		`{"auths":{},"credsStore":"desktop"}`: "without a credential helper",
		`{"auths":{"r":{}},"credsStore":"desktop"}`:               `no password for "r"; paste`,
		`{"auths":{"a":{"password":"geheim"},"b":{"email":"x"}}}`: `no password for "b"`,
		`{"auths":{"r":{"auth":"geheim!"}}}`:                      `the auth of "r" is damaged`,
		`{"auths":{"r":{"auth":"Z2VoZWlt"}}}`:                     "base64 of user:password",
	} {
		err := config.ValidRegistryAuth(s)
		if (err == nil) != (hint == "") || err != nil && !strings.Contains(err.Error(), hint) {
			t.Errorf("registry-auth %q: %v, want %q", s, err, hint)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("password printed: %v", err)
		}
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		6 * time.Hour: "6h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 30 * time.Second: "30s", 90 * time.Second: "1m30s",
		time.Hour + time.Second: "1h0m1s", 0: "0s", 1500 * time.Millisecond: "1.5s", 10 * time.Hour: "10h", -time.Hour: "-1h",
	} {
		text, err := json.Marshal(config.Duration(d))
		if err != nil || string(text) != `"`+want+`"` {
			t.Errorf("%s is %s, %v", want, text, err)
		}
		var back config.Duration
		if err := json.Unmarshal(text, &back); err != nil || back != config.Duration(d) {
			t.Errorf("%s is read as %v, %v", text, back, err)
		}
	}
	var d config.Duration
	if err := json.Unmarshal([]byte(`"6"`), &d); err == nil || !strings.Contains(err.Error(), "30s, 10m or 6h") {
		t.Errorf("6: %v", err)
	}
}

// The secret that the agent needs is in a file of its own, and gone from there
// when it is gone from the configuration.
func TestRegistryAuthReachesTheAgentOnly(t *testing.T) {
	dir := t.TempDir()
	if s, err := config.ReadRegistryAuth(dir); s != "" || err != nil {
		t.Errorf("before anything: %q, %v", s, err)
	}
	c, o := config.Merge(config.Defaults(), config.Part{Update: config.UpdatePart{RegistryAuth: new(config.Secret(registryAuth))}})
	for range 2 {
		if err := config.WriteEffective(dir, c, o); err != nil {
			t.Fatal(err)
		}
	}
	got, err := config.ReadRegistryAuth(dir)
	if err != nil || got.Reveal() != registryAuth || strings.Contains(fmt.Sprint(got), "geheim") {
		t.Errorf("%q, %v", got.Reveal(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if holds := strings.Contains(string(text), "geheim"); holds != (e.Name() == "registry-auth.json") {
			t.Errorf("%s holds the password: %v", e.Name(), holds)
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v: want 0600", info, err)
		}
	}
	c.Update.RegistryAuth = ""
	for range 2 {
		if err := config.WriteEffective(dir, c, o); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := config.ReadRegistryAuth(dir); s != "" || err != nil {
		t.Errorf("after it is gone: %q, %v", s, err)
	}
}
