package sshd

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

func config(t testing.TB, lines ...string) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"ssh": map[string]any{"authorized-keys": lines}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeysOfTheConfiguration(t *testing.T) {
	_, good := newKey(t)
	_, second := newKey(t, "ecdsa")
	_, short := newKey(t, "rsa", "-b", "1024")
	good, second = strings.TrimSpace(good), strings.TrimSpace(second)
	keys, bad, err := parseKeys(config(t,
		good, "# a comment\n\n"+second+"\n", short,
		`restrict,command="uptime" `+good, "ssh-ed25519 nonsense", "ssh-ed25519", strings.Replace(good, "ssh-ed25519", "ssh-rsa", 1)))
	if err != nil || len(keys) != 2 || keys[0].comment != "operator" || keys[1].fingerprint != fingerprint(t, second) {
		t.Errorf("%+v %v", keys, err)
	}
	var said []string
	for _, e := range bad {
		said = append(said, e.Error())
	}
	want := []string{
		"authorized key 3: an RSA key of 1024 bits is too short: want 2048, or ssh-ed25519",
		`authorized key 4: the option "restrict" before the key is not supported: leave it out`,
		"authorized key 5: not a public key: want a line such as ssh-ed25519 AAAA... name",
		"authorized key 6: not a public key: want a line such as ssh-ed25519 AAAA... name",
		"authorized key 7: not a public key: want a line such as ssh-ed25519 AAAA... name",
	}
	if strings.Join(said, "\n") != strings.Join(want, "\n") {
		t.Errorf("said\n%s", strings.Join(said, "\n"))
	}
}

// A certificate opens nothing: its limits are not looked at.
func TestCertificateIsNoKey(t *testing.T) {
	authority, _ := newKey(t)
	file, _ := newKey(t)
	tool(t, "ssh-keygen", "-q", "-s", authority, "-I", "x", "-n", "root", file+".pub")
	line, err := os.ReadFile(file + "-cert.pub")
	if err != nil {
		t.Fatal(err)
	}
	keys, bad, err := parseKeys(config(t, string(line)))
	if err != nil || len(keys) != 0 || len(bad) != 1 || !strings.Contains(bad[0].Error(), "are not accepted: use ssh-ed25519") {
		t.Errorf("%v %v %v", keys, bad, err)
	}
}

func TestConfigurationWithoutKeys(t *testing.T) {
	for _, text := range []string{`{}`, `{"ssh":{}}`, `{"ssh":{"authorized-keys":null}}`, `{"ssh":null,"hostname":"box"}`} {
		if keys, bad, err := parseKeys([]byte(text)); len(keys)+len(bad) > 0 || err != nil {
			t.Errorf("%s: %v %v %v", text, keys, bad, err)
		}
	}
	if _, _, err := parseKeys([]byte(`{"ssh":{"authorized-keys":"one"}}`)); err == nil {
		t.Error("a wrong type is no error")
	}
}

func FuzzKeys(f *testing.F) {
	f.Add(config(f, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPwKmqTqdGbnqdPqzOzOVDKzOQWOXTkqVxKBGuxNmwN a", "ssh-rsa AAAA"))
	f.Add([]byte(`{"ssh":{"authorized-keys":["from=\"a\" ssh-ed25519 x"]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, _, err := parseKeys(text)
		if err != nil && len(keys) > 0 {
			t.Error("keys and an error")
		}
		for _, k := range keys {
			// What opens the node is a key that can be offered.
			key, err := ssh.ParsePublicKey(k.blob)
			if err != nil || ssh.FingerprintSHA256(key) != k.fingerprint {
				t.Errorf("%v", err)
			}
			if found, ok := findKey(keys, key); !ok || found.fingerprint != k.fingerprint {
				t.Error("it is not found")
			}
		}
	})
}

// Opcodes of RFC 4254 section 8.
func TestModes(t *testing.T) {
	var termios unix.Termios
	termios.Lflag = unix.ECHO | unix.ICANON
	termios.Cc[unix.VINTR], termios.Cc[unix.VQUIT] = 3, 28
	applyModes(&termios, []byte{
		3, 0, 0, 0, 8, // VERASE
		2, 0, 0, 0, 255, // VQUIT: none
		53, 0, 0, 0, 0, // ECHO off
		42, 0, 0, 0, 1, // IUTF8
		72, 0, 0, 0, 1, // ONLCR
		128, 0, 0, 0x96, 0, // input speed
		0,              // end
		1, 0, 0, 0, 99, // VINTR, after the end
	})
	want := unix.Termios{Lflag: unix.ICANON, Iflag: unix.IUTF8, Oflag: unix.ONLCR}
	want.Cc[unix.VINTR], want.Cc[unix.VERASE] = 3, 8
	if termios != want {
		t.Errorf("got  %+v\nwant %+v", termios, want)
	}
}

func FuzzModes(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 3, 0})
	f.Add([]byte{93, 0, 0, 0, 1, 159, 0, 0, 0, 1, 160})
	f.Add([]byte{18, 0, 0, 1})
	f.Fuzz(func(t *testing.T, modes []byte) {
		var once, twice unix.Termios
		applyModes(&once, modes)
		twice = once
		applyModes(&twice, modes)
		if once != twice {
			t.Errorf("%+v, then %+v", once, twice)
		}
		if bytes.IndexByte(modes, 0) == 0 && once != (unix.Termios{}) {
			t.Error("modes after the end count")
		}
	})
}

// What a client may set is printable and bounded.
func TestVariables(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		ok          bool
	}{
		{"LANG", "C.UTF-8", true}, {"LC_ALL", "", true}, {"LC_TIME", "en_DK", true},
		{"PATH", "/tmp", false}, {"LD_PRELOAD", "x", false}, {"ENV", "x", false}, {"LC_A=B", "x", false},
		{"LANG", "a\nb", false}, {"LANG", strings.Repeat("x", maxVariable+1), false}, {"LC_\x00", "x", false},
	} {
		s := &session{}
		if ok := s.setVariable(ssh.Marshal(struct{ Name, Value string }{tc.name, tc.value})); ok != tc.ok || ok != (len(s.env) == 1) {
			t.Errorf("%q=%.20q: %t", tc.name, tc.value, ok)
		}
	}
	s := &session{}
	for range 2 * maxVariables {
		s.setVariable(ssh.Marshal(struct{ Name, Value string }{"LANG", "C"}))
	}
	if len(s.env) != maxVariables || s.setVariable([]byte{0, 0, 0, 9}) {
		t.Errorf("%d variables", len(s.env))
	}
}
