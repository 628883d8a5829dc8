package cloudinit_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
)

// report is what a person and the program get of a document.
func report(t *testing.T, kind cloudinit.Kind, doc []byte) string {
	t.Helper()
	part, warnings, err := cloudinit.Parse(kind, doc)
	var b strings.Builder
	for _, w := range warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(&b, "error: %s\n", line)
		}
		return b.String()
	}
	j, err := json.MarshalIndent(part, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(j)
	b.WriteString("\n")
	if part.Network != nil {
		b.WriteString(part.Network.String() + "\n")
	}
	return b.String()
}

// documents are the files of testdata: cloud-configs, and in folders the files
// of volumes.
func documents(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"testdata/*.yaml", "testdata/*/network-config", "testdata/*/meta-data"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal("no documents", pattern, err)
		}
		all = append(all, found...)
	}
	return all
}

func TestGolden(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	for _, path := range documents(t) {
		t.Run(strings.TrimPrefix(path, "testdata/"), func(t *testing.T) {
			doc, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := report(t, cloudinit.KindOf(path), doc)
			if strings.Contains(got, "VERY-SECRET") {
				t.Errorf("secret printed:\n%s", got)
			}
			golden := strings.TrimSuffix(path, ".yaml") + ".golden"
			if update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestTwelveMistakesGiveTwelveErrors(t *testing.T) {
	doc, err := os.ReadFile("testdata/twelve.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = cloudinit.Parse(cloudinit.CloudConfig, doc)
	if n := strings.Count(err.Error(), "\n") + 1; n != 12 {
		t.Errorf("%d errors:\n%v", n, err)
	}
}

func TestSecretsAndFilesArriveWhole(t *testing.T) {
	doc, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	part, _, err := cloudinit.Parse(cloudinit.CloudConfig, doc)
	if err != nil {
		t.Fatal(err)
	}
	if got := part.Portainer.EdgeKey.Reveal(); got != "VERY-SECRET" {
		t.Errorf("edge-key %q", got)
	}
	if f := part.WriteFiles[1]; string(f.Content) != "hello" || f.Permissions != 0o644 {
		t.Errorf("file %+v", f)
	}
	if part.WriteFiles[0].Permissions != 0o600 {
		t.Errorf("permissions %o", part.WriteFiles[0].Permissions)
	}
	c, o := config.Merge(config.Defaults(), part)
	if err := config.Validate(c, o); err != nil {
		t.Errorf("what Parse accepts must be valid: %v", err)
	}
}

func TestBounds(t *testing.T) {
	big := append([]byte("#cloud-config\n"), bytes.Repeat([]byte("# x\n"), 1<<19)...)
	if _, _, err := cloudinit.Parse(cloudinit.CloudConfig, big); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("2 MiB: %v", err)
	}
	var odd strings.Builder
	odd.WriteString("#cloud-config\n")
	for i := range 5000 {
		fmt.Fprintf(&odd, "key%d: 1\n", i)
	}
	_, warnings, err := cloudinit.Parse(cloudinit.CloudConfig, []byte(odd.String()))
	if err != nil || len(warnings) != 101 || !strings.Contains(warnings[100].String(), "line 102: 4900 more") {
		t.Errorf("%d warnings, %v, last %s", len(warnings), err, warnings[len(warnings)-1])
	}
	var wide strings.Builder
	wide.WriteString("#cloud-config\nnetwork:\n  version: 2\n  bridges:\n")
	for i := range 15_000 {
		fmt.Fprintf(&wide, "    b%d: {interfaces: [b%d]}\n", i, i+1)
	}
	_, _, err = cloudinit.Parse(cloudinit.CloudConfig, []byte(wide.String()))
	if err == nil || !strings.Contains(err.Error(), "line 261: network: b256: more than 256 links") {
		t.Errorf("15000 bridges: %v", err)
	}
	deep := "#cloud-config\nhostname: " + strings.Repeat("[", 100_000)
	if _, _, err := cloudinit.Parse(cloudinit.CloudConfig, []byte(deep)); err == nil {
		t.Error("deep nesting accepted")
	}
}

func FuzzParse(f *testing.F) {
	for _, path := range documents(f) {
		doc, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(cloudinit.KindOf(path)), doc)
	}
	f.Fuzz(func(t *testing.T, kind string, doc []byte) {
		part, warnings, err := cloudinit.Parse(cloudinit.Kind(kind), doc)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "line ") {
					t.Errorf("not one line per error: %q", err)
				}
			}
			if n := strings.Count(err.Error(), "\n") + 1; len(cloudinit.Problems(err)) != n {
				t.Errorf("%d problems in %d lines", len(cloudinit.Problems(err)), n)
			}
			return
		}
		for _, w := range warnings {
			if strings.Contains(w.String(), "\n") {
				t.Errorf("warning of two lines: %q", w)
			}
		}
		// What Parse accepts, Validate accepts, except what needs the whole.
		part.Portainer = config.PortainerPart{}
		part.Update.Auto, part.Update.Deadline, part.Update.HealthyFor = nil, nil, nil
		c, o := config.Merge(config.Defaults(), part)
		if err := config.Validate(c, o); err != nil {
			t.Errorf("accepted, but invalid: %v", err)
		}
	})
}
