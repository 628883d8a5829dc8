package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"kubesolo.io/os/internal/image/gobuild"
	"kubesolo.io/os/internal/image/inputs"
)

// engine names what is installed as kubesolo; ksinit starts each as it likes best.
func (b *Builder) engine() string {
	if b.c.KubeSolo == "source" && b.c.Replace["kubesolo"] == "" {
		return "solonode"
	}
	return "kubesolo"
}

// kubesolo builds solonode, or takes the given file or release.
func (b *Builder) kubesolo(ctx context.Context, g gobuild.Builder) error {
	if file := b.c.Replace["kubesolo"]; file != "" {
		return b.given("kubesolo", file)
	}
	choice := b.c.KubeSolo
	if choice == "source" {
		dir := filepath.Join(b.c.Repo, "solonode")
		if _, err := os.Stat(filepath.Join(dir, "main.go")); err != nil {
			return fmt.Errorf("KUBESOLO=source: solonode/main.go: %w; or give KUBESOLO=FILE or KUBESOLO=v1.2.0", gobuild.ErrSource)
		}
		b.say("programs   kubesolo (solonode; the first time takes about ten minutes)")
		vars, err := linkerVars(filepath.Join(dir, "ldflags.txt"))
		if err != nil {
			return fmt.Errorf("KUBESOLO=source: %w", err)
		}
		out, err := g.Build(ctx, gobuild.Program{Name: "kubesolo", Dir: dir, Package: ".", Vars: vars})
		b.programs["kubesolo"] = out
		return err
	}
	archive := choice
	if isTag(choice) {
		release := inputs.Release{BaseURL: b.c.KubeSoloURL, Tag: choice, SHA256: b.c.KubeSoloSHA256, Cache: b.path("cache/release")}
		var err error
		if archive, err = release.Fetch(ctx); err != nil {
			return fmt.Errorf("KUBESOLO=%s: %w", choice, err)
		}
	}
	out := b.path("work/kubesolo-release/kubesolo")
	in, err := inputs.KubeSoloFile(archive, b.c.KubeSoloSHA256, out)
	if err != nil {
		return fmt.Errorf("KUBESOLO=%s: %w", choice, err)
	}
	if isTag(choice) {
		in.Kind, in.Version = "release", choice
	}
	b.lock.Add(in)
	b.programs["kubesolo"] = out
	return nil
}

// linkerVars reads the "-X name=value" words that tell Kubernetes its version:
// without them the node reports v0.0.0-master.
func linkerVars(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var vars []string
	for word := range strings.FieldsSeq(string(text)) {
		if word != "-X" {
			vars = append(vars, word)
		}
	}
	return vars, nil
}

func isTag(s string) bool {
	ok, err := regexp.MatchString(`^v\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?$`, s)
	return err == nil && ok
}
