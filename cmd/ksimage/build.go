package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"kubesolo.io/os/internal/image"
	"kubesolo.io/os/internal/image/tool"
)

const buildHelp = `ksimage build makes the image from public sources. What is unchanged is not built again.

Outputs in --out: vmlinuz, kubesolo-os.gz, kubesolo-os-amd64.iso, kubesolo-os-amd64.img,
inputs.lock.json (every input with version and SHA-256), sizes.json, build.log.

Examples:
  ksimage build
  ksimage build --until root --level 3
  ksimage build --kernel-image bzImage --kernel-modules _install --kernel-config .config
  ksimage build --release --keys release-keys --version 1.0.0
  ksimage build --replace kubesolo=/tmp/kubesolo`

// version is what the images of this checkout call themselves.
const version = "0.1.0"

// fallbackEpoch stamps builds of a tree without history: 2026-01-01.
const fallbackEpoch = 1767225600

func build(ctx context.Context, args []string) error {
	c := image.Config{Repo: ".", Progress: os.Stdout, Replace: map[string]string{}}
	fs := flags("build", buildHelp)
	fs.StringVar(&c.Out, "out", "build", "build `directory`")
	fs.StringVar(&c.Version, "version", version, "`version` of the image")
	fs.StringVar(&c.Base, "base", "debian", "userland: debian or tinycore")
	fs.StringVar(&c.CoreGZ, "core-gz", "", "Tiny Core's core.gz or corepure64.gz, a `file`")
	fs.StringVar(&c.KernelImage, "kernel-image", "", "bzImage `file` instead of Debian's newest kernel")
	fs.StringVar(&c.KernelModules, "kernel-modules", "", "module `directory` of that kernel")
	fs.StringVar(&c.KernelConfig, "kernel-config", "", "its configuration `file`, for the audit (default: looked for in it and beside it)")
	fs.StringVar(&c.KubeSolo, "kubesolo", "source", "source, a release `tag` like v1.2.0, or a file (binary or .tar.gz)")
	fs.StringVar(&c.KubeSoloURL, "kubesolo-url", "", "base `URL` of releases (default: KubeSolo's own)")
	fs.StringVar(&c.KubeSoloSHA256, "kubesolo-sha256", "", "`hash` that the release or file must have")
	fs.StringVar(&c.Keys, "keys", "", "key `directory` whose root the nodes trust (default keys in --out: test keys)")
	fs.BoolVar(&c.Release, "release", false, "refuse test keys")
	fs.IntVar(&c.Level, "level", 19, "zstd `level` of the root, 1 (fast) to 22 (small)")
	fs.StringVar(&c.Block, "block", "1M", "squashfs block `size` of the root")
	fs.StringVar(&c.Until, "until", "", "stop after this `step`: "+strings.Join(image.Steps(), ", "))
	fs.Var((*words)(&c.Need), "need", "also install `programs` (or files, by their path), for what comes after the build")
	quiet := fs.Bool("quiet", false, "no progress lines")
	fs.Func("replace", "use a file in place of building: `name=file` (ksinit, ksagent, kubesolo)", func(s string) error {
		name, file, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("want name=file")
		}
		c.Replace[name] = file
		return nil
	})
	if err := parse(fs, args); err != nil {
		return err
	}
	if *quiet {
		c.Progress = nil
	}
	var err error
	if c.Epoch, err = epoch(ctx); err != nil {
		return err
	}
	result, err := image.Build(ctx, c)
	if err != nil {
		return err
	}
	return result.Print(os.Stdout)
}

// epoch is SOURCE_DATE_EPOCH, else the time of the last commit, else a fixed day.
func epoch(ctx context.Context) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		git := tool.Command{Name: "git", Args: []string{"log", "-1", "--format=%ct"}}
		out, err := tool.New(nil, time.Unix(fallbackEpoch, 0)).Output(ctx, git)
		if err != nil {
			return time.Unix(fallbackEpoch, 0), nil // an unpacked archive, or no commit yet
		}
		text = strings.TrimSpace(string(out))
	}
	sec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || sec < 315532800 { // FAT cannot store times before 1980
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s: want seconds since 1970, not before 1980", text)
	}
	return time.Unix(sec, 0), nil
}
