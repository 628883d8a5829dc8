package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"kubesolo.io/os/internal/tufrepo"
	"kubesolo.io/os/internal/update/trust"
)

const keysHelp = `ksimage keys makes and changes the keys that updates are signed with. docs/updates.md has
the ceremony.

  ksimage keys init DIR       new keys for all roles, and the first root.json
  ksimage keys rotate DIR     the next root.json: with new keys, or only for a longer time
  ksimage keys show DIR|FILE  the roles and keys of a key directory, or of a root.json

Examples:
  ksimage keys init release-keys
  ksimage keys init --root-keys 1 --threshold 1 release-keys
  ksimage keys rotate --role timestamp --with /media/stick1 --with /media/stick2 release-keys
  ksimage keys rotate --with /media/stick1 --with /media/stick2 release-keys
  ksimage keys show -o json release-keys
  ksimage keys show /etc/kubesolo-os/update/root.json`

// keys is `ksimage keys`.
func keys(args []string, stdout io.Writer) error {
	fs := flags("keys", keysHelp)
	verb, args := word(args)
	var with, roles list
	expiry := tufrepo.DefaultExpiry()
	rootKeys, threshold := 0, 0
	output := "table"
	switch verb {
	case "init", "rotate":
		fs.IntVar(&rootKeys, "root-keys", 0, "`number` of root keys (init: 3; rotate --role root: as many as before)")
		fs.IntVar(&threshold, "threshold", 0, "`number` of them that must sign the next root (init: 2; rotate: as before)")
		fs.Func("expire", "how long the root is good: `root=365d`", expireFlag(&expiry))
		if verb == "rotate" {
			fs.Var(&with, "with", "also use the private keys in this `directory`; may be repeated")
			fs.Var(&roles, "role", "`role` that gets new keys: root, targets, snapshot or timestamp; may be repeated")
		}
	case "show":
		fs.StringVar(&output, "o", "table", "output `format`: table or json")
	}
	where, err := parseOne(fs, args)
	if err != nil {
		return err
	}
	switch {
	case verb != "init" && verb != "rotate" && verb != "show":
		fmt.Fprintf(os.Stderr, "ksimage keys: init, rotate or show, not %q\n", verb)
		return errUsage
	case where == "":
		fmt.Fprintf(os.Stderr, "ksimage keys %s: which directory?\n", verb)
		return errUsage
	}
	switch verb {
	case "init":
		err = tufrepo.Init(tufrepo.NewKeys{Dir: where, RootKeys: cmp.Or(rootKeys, 3), Threshold: cmp.Or(threshold, 2), Time: now(), Expiry: expiry})
	case "rotate":
		if (rootKeys != 0 || threshold != 0) && !slices.Contains(roles, metadata.ROOT) {
			return errors.New("keys rotate: --root-keys and --threshold are for new root keys: add --role root")
		}
		var k *tufrepo.Keys
		if k, err = tufrepo.Open(where, with...); err == nil {
			err = k.Rotate(tufrepo.Rotation{Roles: roles, RootKeys: rootKeys, Threshold: threshold, Time: now(), Expiry: expiry})
		}
	}
	if err != nil {
		return err
	}
	return showKeys(stdout, where, with, output)
}

// showKeys prints a key directory or a root.json.
func showKeys(w io.Writer, where string, with []string, output string) error {
	var root trust.Root
	files := map[string]string{}
	info, err := os.Stat(where)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		k, err := tufrepo.Open(where, with...)
		if err != nil {
			return err
		}
		if root, err = k.Root(); err != nil {
			return err
		}
		files = k.Files()
	default:
		text, err := os.ReadFile(where)
		if err != nil {
			return err
		}
		if root, err = trust.Inspect(text); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	if output == "json" {
		return encodeJSON(w, struct {
			trust.Root
			Files map[string]string `json:"files"` // key id -> private key
		}{root, files})
	}
	if err := printRoot(w, root); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\nROLE\tMUST SIGN\tKEY\tPRIVATE KEY")
	for _, name := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		role := root.Roles[name]
		sign := fmt.Sprintf("%d of %d", role.Threshold, len(role.Keys))
		for _, id := range role.Keys {
			file := files[id]
			if file == "" {
				file = "not here"
			}
			fmt.Fprintf(t, "%s\t%s\t%.8s\t%s\n", name, sign, id, file)
			name, sign = "", ""
		}
	}
	return t.Flush()
}

func printRoot(w io.Writer, root trust.Root) error {
	days := int(math.Round(root.Expires.Sub(now()).Hours() / 24))
	text := fmt.Sprintf("repository   %s\nroot         version %d, until %s (%d days)\n", root.Repository, root.Version, root.Expires.Format(time.DateOnly), days)
	switch {
	case root.TestKeys:
		text += "test keys    everybody has them: for trying out only\n"
	case days < 0:
		text += "expired      no node takes an update: ksimage keys rotate\n"
	case days < 90:
		text += "soon         sign the next root in time: ksimage keys rotate\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// now is the time of signatures: SOURCE_DATE_EPOCH when it is set.
func now() time.Time {
	if sec, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(sec, 0)
	}
	return time.Now()
}

// list collects a flag that may be given several times, or once with commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, strings.Split(s, ",")...)
	return nil
}

// expireFlag reads role=days, as timestamp=3d.
func expireFlag(e *tufrepo.Expiry) func(string) error {
	roles := map[string]*time.Duration{metadata.ROOT: &e.Root, metadata.TARGETS: &e.Targets, metadata.SNAPSHOT: &e.Snapshot, metadata.TIMESTAMP: &e.Timestamp}
	return func(s string) error {
		role, text, _ := strings.Cut(s, "=")
		days, err := strconv.Atoi(strings.TrimSuffix(text, "d"))
		if roles[role] == nil || err != nil || !strings.HasSuffix(text, "d") || days < 1 || days > 36500 {
			return errors.New("want role=days, as timestamp=3d")
		}
		*roles[role] = time.Duration(days) * 24 * time.Hour
		return nil
	}
}

// word takes a verb off the front of the arguments.
func word(args []string) (string, []string) {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return "", args
	}
	return args[0], args[1:]
}

// parseOne parses flags and at most one other argument, in any order.
func parseOne(fs *flag.FlagSet, args []string) (string, error) {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return "", err
		}
		return "", errUsage // the flag package has told
	}
	one, rest := word(fs.Args())
	return one, parse(fs, rest)
}
