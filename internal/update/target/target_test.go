package target_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/target"
	"kubesolo.io/os/internal/update/trust"
)

func offered(version string) trust.Target {
	sum := sha256.Sum256([]byte(version))
	return trust.Target{Name: "kubesolo-os-" + version + "-amd64.slot", Version: version, Architecture: "amd64", Channels: []string{"stable"},
		Released: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Rollout: "24h", Length: int64(len(version)), SHA256: hex.EncodeToString(sum[:])}
}

func TestChoose(t *testing.T) {
	targets := []trust.Target{offered("1.1.0"), offered("1.3.0"), offered("1.2.0")}
	refused := update.State{Refused: []update.Refusal{{Version: "1.3.0"}}}
	begun, gone := target.Payload(offered("1.1.0"), "usb"), target.Payload(offered("1.0.0"), "usb")
	for name, c := range map[string]struct {
		query    update.Query
		channel  string
		want     string // version
		rejected string
		nothing  bool
	}{
		"the newest":         {query: update.Query{Current: "1.0.0"}, want: "1.3.0"},
		"not the refused":    {query: update.Query{Current: "1.0.0", State: refused}, want: "1.2.0"},
		"forced":             {query: update.Query{Current: "1.0.0", State: refused, Order: update.Order{Version: "1.3.0", Force: true}}, want: "1.3.0"},
		"what was begun":     {query: update.Query{Current: "1.1.0", Exactly: &begun}, want: "1.1.0"},
		"begun, and gone":    {query: update.Query{Current: "1.1.0", Exactly: &gone}, rejected: "kubesolo-os-1.0.0-amd64.slot is not offered any more"},
		"nothing newer":      {query: update.Query{Current: "1.3.0"}, nothing: true},
		"it runs":            {query: update.Query{Current: "1.2.0", Order: update.Order{Version: "1.2.0"}}, nothing: true},
		"no such version":    {query: update.Query{Current: "1.0.0", Order: update.Order{Version: "9.0.0"}}, rejected: "version 9.0.0 is not in channel stable for amd64"},
		"an empty channel":   {query: update.Query{Current: "1.0.0"}, channel: "beta", nothing: true},
		"other architecture": {query: update.Query{Current: "1.0.0"}, channel: "arm64", nothing: true},
	} {
		t.Run(name, func(t *testing.T) {
			architecture, channel := "amd64", "stable"
			switch c.channel {
			case "":
			case "arm64":
				architecture = c.channel
			default:
				channel = c.channel
			}
			got, err := target.Choose(targets, c.query, architecture, channel)
			var rejected *update.Rejected
			switch {
			case c.nothing:
				if !errors.Is(err, update.ErrNothingNew) {
					t.Errorf("%v, %v", got.Version, err)
				}
			case c.rejected != "":
				if !errors.As(err, &rejected) || rejected.Reason != c.rejected {
					t.Errorf("%v, %v", got.Version, err)
				}
			case err != nil || got.Version != c.want:
				t.Errorf("%v, %v", got.Version, err)
			}
		})
	}
}

func TestDownload(t *testing.T) {
	want := offered("1.1.0")
	got := target.Download(target.Payload(want, "usb"))
	if got.Name != want.Name || got.Length != want.Length || got.SHA256 != sha256.Sum256([]byte("1.1.0")) {
		t.Errorf("%+v", got)
	}
	for _, hash := range []string{"", "ab", "no digits", want.SHA256 + "00"} {
		p := target.Payload(want, "usb")
		p.SHA256 = hash
		if got := target.Download(p); got.Length != 0 {
			t.Errorf("%q: %+v", hash, got)
		}
	}
}
