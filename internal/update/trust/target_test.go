package trust

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const goodCustom = `{"version":"0.2.0","architecture":"amd64","channels":["stable"],"minVersion":"0.1.0","released":"2026-06-01T00:00:00Z","notes":"better"}`

func TestParseTarget(t *testing.T) {
	sum := sha256.Sum256(nil)
	for _, test := range []struct {
		name, custom string
		length       int64
		sum          []byte
		want         string // part of the error, "" = good
	}{
		{"good", goodCustom, 1, sum[:], ""},
		{"later fields", strings.Replace(goodCustom, "{", `{"wave":{"days":3},`, 1), 1, sum[:], ""},
		{"not JSON", "{", 1, sum[:], "custom: unexpected end"},
		{"another type", strings.Replace(goodCustom, `"0.2.0"`, "2", 1), 1, sum[:], "cannot unmarshal number"},
		{"no version", "{}", 1, sum[:], `version "" is none like 1.2.3`},
		{"bad version", strings.Replace(goodCustom, "0.2.0", "v0.2", 1), 1, sum[:], `version "v0.2"`},
		{"bad minimum", strings.Replace(goodCustom, "0.1.0", "1", 1), 1, sum[:], `minVersion "1"`},
		{"minimum above", strings.Replace(goodCustom, "0.1.0", "0.3.0", 1), 1, sum[:], "minVersion 0.3.0 is above its version 0.2.0"},
		{"bad architecture", strings.Replace(goodCustom, "amd64", "../x", 1), 1, sum[:], `architecture "../x"`},
		{"no channel", strings.Replace(goodCustom, `"stable"`, "", 1), 1, sum[:], "channels []"},
		{"bad channel", strings.Replace(goodCustom, "stable", "a b", 1), 1, sum[:], `channels ["a b"]`},
		{"another name", strings.Replace(goodCustom, "0.2.0", "0.2.1", 1), 1, sum[:], "want the name kubesolo-os-0.2.1-amd64.slot"},
		{"never released", strings.Replace(goodCustom, `"released":"2026-06-01T00:00:00Z",`, "", 1), 1, sum[:], "no time of release"},
		{"a book", strings.Replace(goodCustom, "better", strings.Repeat("b", 9000), 1), 1, sum[:], "notes of 9000 bytes"},
		{"empty file", goodCustom, 0, sum[:], "a length of 0 bytes"},
		{"no hash", goodCustom, 1, nil, "no sha256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseTarget("kubesolo-os-0.2.0-amd64.slot", test.length, test.sum, []byte(test.custom))
			if test.want == "" && (err != nil || got.Version != "0.2.0" || got.MinVersion != "0.1.0" || got.Notes != "better") {
				t.Errorf("%+v, %v", got, err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "kubesolo-os-0.2.0-amd64.slot")) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestTargetsOfOthersAreLeftAlone(t *testing.T) {
	list, err := parseTargets(map[string]*metadata.TargetFiles{"firmware.bin": {}, "kubesolo-os-docs.pdf": nil})
	if err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := parseTargets(map[string]*metadata.TargetFiles{"kubesolo-os-0.2.0-amd64.slot": {}}); err == nil {
		t.Error("a slot image without its custom part was taken")
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("kubesolo-os-0.2.0-amd64.slot", int64(1), []byte(goodCustom))
	f.Add("", int64(-1), []byte("null"))
	f.Add("kubesolo-os--.slot", int64(1), []byte(`{"channels":[""]}`))
	sum := sha256.Sum256(nil)
	f.Fuzz(func(t *testing.T, name string, length int64, custom []byte) {
		got, err := ParseTarget(name, length, sum[:], custom)
		if err != nil {
			return
		}
		if got.File() != got.SHA256+"."+TargetName(got.Version, got.Architecture) || strings.ContainsAny(got.File(), "/\\\x00\n") || length <= 0 {
			t.Errorf("taken: %+v", got)
		}
	})
}
