package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"kubesolo.io/os/internal/image"
	"kubesolo.io/os/internal/image/disk"
	"kubesolo.io/os/internal/image/squashfs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/tufrepo"
)

const updateHelp = `ksimage update publishes a slot image in a signed repository, a directory that a static
file server or a stick offers to nodes as it is. It ends by reading the repository as a
node would.

  ksimage update                    add --slot, or change what is said of it
  ksimage update refresh            sign again what expires: run it weekly
  ksimage update withdraw VERSION   offer a version no longer
  ksimage update show               only read it, with every image

Without --keys the test keys of the build directory sign. SOURCE_DATE_EPOCH, when it is
set, is the time of the signatures.

Examples:
  ksimage update
  ksimage update --keys release-keys --repository /srv/updates --channel beta
  ksimage update --keys release-keys --repository /srv/updates --min-version 0.3.0 --notes "$(cat notes)"
  ksimage update refresh --keys job-keys --repository /srv/updates
  ksimage update withdraw 0.3.1 --keys release-keys --repository /srv/updates`

// update is `ksimage update`.
func update(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flags("update", updateHelp)
	verb, args := word(args)
	var with, channels list
	release := tufrepo.Release{}
	expiry := tufrepo.DefaultExpiry()
	out := fs.String("out", "build", "build `directory`")
	dir := fs.String("repository", "", "repository `directory` (default repository in --out)")
	keyDir := fs.String("keys", "", "key `directory` (default keys in --out: test keys)")
	output := fs.String("o", "table", "output `format`: table or json")
	if verb != "show" {
		fs.Var(&with, "with", "also use the private keys in this `directory`; may be repeated")
		fs.Func("expire", "how long a role's signature is good: `timestamp=3d`; may be repeated", expireFlag(&expiry))
	}
	if verb == "" {
		fs.StringVar(&release.File, "slot", "", "slot image `file` (default slot.squashfs in --out)")
		fs.Var(&channels, "channel", "`name` of a channel that offers it; may be repeated (default stable)")
		fs.StringVar(&release.MinVersion, "min-version", "", "a node must run this `version` or a later one")
		fs.DurationVar(&release.Rollout, "rollout", 0, "`time` over which nodes that update by themselves get it, such as 48h")
		fs.StringVar(&release.Notes, "notes", "", "`text` for operators")
	}
	version, err := parseOne(fs, args)
	if err != nil {
		return err
	}
	switch {
	case verb != "" && verb != "refresh" && verb != "withdraw" && verb != "show":
		fmt.Fprintf(os.Stderr, "ksimage update: refresh, withdraw or show, not %q\n", verb)
		return errUsage
	case (verb == "withdraw") != (version != ""):
		fmt.Fprintf(os.Stderr, "ksimage update %s: a version is for withdraw, and withdraw needs one\n", verb)
		return errUsage
	}
	k, err := keysOf(*out, *keyDir, with)
	if err != nil {
		return err
	}
	r := &tufrepo.Repository{Dir: *dir, Keys: k, Time: now(), Expiry: expiry}
	if r.Dir == "" {
		r.Dir = filepath.Join(*out, "repository")
	}
	switch verb {
	case "":
		if release.Channels = channels; len(channels) == 0 {
			release.Channels = list{"stable"}
		}
		if release.File == "" {
			release.File = filepath.Join(*out, "slot.squashfs")
		}
		release.Released = r.Time
		err = publish(ctx, r, release)
	case "refresh":
		err = r.Refresh()
	case "withdraw":
		err = r.Withdraw(version)
	}
	if err != nil {
		return err
	}
	status, err := tufrepo.Verify(ctx, r.Dir, k.FirstRoot(), r.Time)
	if err != nil {
		return err
	}
	if *output == "json" {
		return encodeJSON(stdout, status)
	}
	if err := printStatus(stdout, r.Dir, status); err != nil {
		return err
	}
	if root, err := k.Root(); err == nil && root.Version > status.Root.Version {
		_, err = fmt.Fprintf(stdout, "\nroot version %d is not published yet: ksimage update refresh\n", root.Version)
		return err
	}
	return nil
}

// keysOf opens the key directory that signs.
func keysOf(out, dir string, with []string) (*tufrepo.Keys, error) {
	if dir == "" {
		dir = filepath.Join(out, "keys")
		if err := tufrepo.InitTest(dir); err != nil {
			return nil, err
		}
	}
	return tufrepo.Open(dir, with...)
}

// publish adds the slot image, of which slot.json in it says what it is.
func publish(ctx context.Context, r *tufrepo.Repository, release tufrepo.Release) error {
	info, err := os.Stat(release.File)
	if err != nil {
		return fmt.Errorf("%w: build an image first (make image), or name it with --slot", err)
	}
	if info.Size() > disk.SlotSize {
		return fmt.Errorf("slot image %s has %d bytes, a slot of a node holds %d", release.File, info.Size(), disk.SlotSize)
	}
	text, err := squashfs.Cat(ctx, tool.New(nil, r.Time), release.File, "slot.json")
	switch {
	case errors.Is(err, tool.ErrMissing):
		return err
	case err != nil: // what unsquashfs says takes several lines, and helps nobody
		return fmt.Errorf("%s is no slot image: no slot.json can be read from it; ksimage build makes one", release.File)
	}
	var slot image.SlotInfo
	if err := json.Unmarshal(text, &slot); err != nil {
		return fmt.Errorf("slot.json of %s: %w", release.File, err)
	}
	if slot.Format != 1 {
		return fmt.Errorf("slot.json of %s has format %d, this program knows 1", release.File, slot.Format)
	}
	for _, name := range []string{"vmlinuz", "kubesolo-os.gz"} {
		if _, ok := slot.Files[name]; !ok {
			return errors.New("slot.json of " + release.File + " names no " + name)
		}
	}
	release.Version, release.Architecture = slot.Version, slot.Architecture
	_, err = r.Add(release)
	return err
}

func printStatus(w io.Writer, dir string, s tufrepo.Status) error {
	if err := printRoot(w, s.Root); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "published    %s, to be signed again before %s\n", dir, s.ValidUntil.UTC().Format(time.DateOnly)); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\nVERSION\tARCHITECTURE\tCHANNELS\tFROM\tRELEASED\tMB\tNOTES")
	for _, target := range s.Targets {
		from := target.MinVersion
		if from == "" {
			from = "any"
		}
		notes, _, _ := strings.Cut(target.Notes, "\n")
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.2f\t%s\n", target.Version, target.Architecture, strings.Join(target.Channels, ","),
			from, target.Released.Format(time.DateOnly), float64(target.Length)/1e6, notes)
	}
	return t.Flush()
}
