package image

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tree"
	"kubesolo.io/os/internal/tufrepo"
	"kubesolo.io/os/internal/update/trust"
)

// Every input that cannot be had is one error that names its option.
func TestBadConfigurations(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Base: "alpine"}, "BASE=alpine"},
		{Config{Base: "tinycore"}, "CORE_GZ=FILE"},
		{Config{Base: "debian", CoreGZ: "x"}, "CORE_GZ=x"},
		{Config{Base: "debian", KernelImage: "bzImage"}, "KERNEL_MODULES"},
		{Config{Base: "debian", KernelConfig: "x"}, "KERNEL_CONFIG=x: cannot build this image: it is only used with KERNEL_IMAGE="},
		{Config{Base: "debian", Until: "never"}, "until never"},
		{Config{Base: "debian", Release: true}, "RELEASE=1: cannot build this image: a release needs keys of its own"},
		{Config{Base: "debian", Replace: map[string]string{"nft": "x"}}, "replace nft"},
	} {
		c.config.Out = filepath.Join(t.TempDir(), "out")
		_, err := Build(context.Background(), c.config)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error = %v, want one with %q", c.config, err, c.want)
		}
	}
}

// A release is refused before anything is built, unless it has keys of its own. The image
// carries the newest root, and the list of inputs names it.
func TestKeysOfARelease(t *testing.T) {
	dir := t.TempDir()
	b := Builder{c: Config{Out: filepath.Join(dir, "build")}, lock: &inputs.Lock{}}
	test, err := b.trustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	if root, err := trust.Inspect(test); err != nil || !root.TestKeys {
		t.Errorf("%+v, %v", root, err)
	}
	release := Config{Base: "debian", Out: filepath.Join(dir, "release"), Release: true, Keys: b.path("keys")}
	if _, err := Build(t.Context(), release); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "these are test keys, which everybody has") {
		t.Errorf("test keys: error %v", err)
	}
	release.Keys = filepath.Join(dir, "absent")
	if _, err := Build(t.Context(), release); !errors.Is(err, tufrepo.ErrKeys) {
		t.Errorf("no keys: error %v", err)
	}
	made := tufrepo.NewKeys{Dir: filepath.Join(dir, "keys"), RootKeys: 1, Threshold: 1, Time: time.Now().Add(-2 * time.Hour), Expiry: tufrepo.Expiry{Root: time.Hour}}
	if err := tufrepo.Init(made); err != nil {
		t.Fatal(err)
	}
	b.c.Keys, b.c.Release = made.Dir, true
	if _, err := b.trustedRoot(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "root 1 expired at") {
		t.Errorf("expired: error %v", err)
	}
	keys, err := tufrepo.Open(made.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Rotate(tufrepo.Rotation{Time: time.Now(), Expiry: tufrepo.DefaultExpiry()}); err != nil {
		t.Fatal(err)
	}
	if got, err := b.trustedRoot(); err != nil || !bytes.Equal(got, keys.RootFile()) {
		t.Errorf("%s, %v", got, err)
	}
	list := b.lock.List()
	if len(list) != 2 || list[1].Version != "2" && list[0].Version != "2" {
		t.Errorf("%+v", list)
	}
}

func TestMeasureSharesTheTotal(t *testing.T) {
	tr := tree.New()
	for _, err := range []error{
		tr.File("a", 0o644, tree.Bytes(strings.Repeat("a", 1<<20)), "easy"),
		tr.File("b", 0o644, tree.Bytes("short"), "small"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	parts, err := measure(tr, 1000)
	if err != nil || len(parts) != 2 {
		t.Fatalf("%+v, %v", parts, err)
	}
	sum := parts[0].Compressed + parts[1].Compressed
	if parts[0].Name != "easy" || parts[0].Bytes != 1<<20 || sum < 990 || sum > 1000 {
		t.Errorf("%+v", parts)
	}
	var text strings.Builder
	if err := (Sizes{Parts: parts}).Print(&text); err != nil || !strings.Contains(text.String(), "easy") {
		t.Errorf("%v: %s", err, text.String())
	}
}

func TestBuildsWaitForEachOther(t *testing.T) {
	c := Config{Out: t.TempDir()}
	unlock, err := lock(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := lock(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("a second build got in, or failed for another reason: %v", err)
	}
	unlock()
	unlock, err = lock(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestIsTag(t *testing.T) {
	for s, want := range map[string]bool{"v1.2.0": true, "v1.2.0-rc.1": true, "source": false, "v1.2": false, "./v1.2.0": false} {
		if isTag(s) != want {
			t.Errorf("isTag(%q) = %v", s, !want)
		}
	}
}
