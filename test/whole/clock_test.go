package whole

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/event"
)

// rtc makes the battery-backed clock of a machine start at a wrong time.
func rtc(date string) []string { return []string{"-rtc", "base=" + date + "T00:00:00"} }

// testClock: the clock was raised before the certificates were made, which are
// good at the time of the build and now, whatever the machine thought.
func (n *node) testClock(t *testing.T, said string) {
	t.Helper()
	raised := ""
	for _, e := range n.EventsSoFar() {
		if e.Type == event.Step && e.Name == "clock" {
			raised = e.Message
		}
	}
	if !strings.Contains(raised, said) {
		t.Errorf("step clock says %q, want %q in it", raised, said)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	text, err := n.Kubeconfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct{ Cluster map[string]string }
		Users    []struct{ User map[string]string }
	}
	if err := yaml.Unmarshal(text, &config); err != nil || len(config.Clusters) != 1 || len(config.Users) != 1 {
		t.Fatalf("kubeconfig: %+v, %v", config, err)
	}
	// Certificates start a day before they are made.
	earliest := buildTime(t).Add(-25 * time.Hour)
	for name, data := range map[string]string{
		"authority":     config.Clusters[0].Cluster["certificate-authority-data"],
		"administrator": config.Users[0].User["client-certificate-data"],
	} {
		raw, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			t.Fatalf("certificate of the %s: no PEM", name)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if now := time.Now(); c.NotBefore.Before(earliest) || c.NotBefore.After(now) || c.NotAfter.Before(now) {
			t.Errorf("certificate of the %s: %v to %v; built %v, now %v", name, c.NotBefore, c.NotAfter, earliest, now)
		}
	}
}

// buildTime is what the image takes for the earliest time there can be.
func buildTime(t *testing.T) time.Time {
	t.Helper()
	text, err := os.ReadFile(artefact(t, "inputs.lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct{ SourceDateEpoch int64 }
	if err := json.Unmarshal(text, &lock); err != nil || lock.SourceDateEpoch == 0 {
		t.Fatalf("inputs.lock.json: %+v, %v", lock, err)
	}
	return time.Unix(lock.SourceDateEpoch, 0)
}
