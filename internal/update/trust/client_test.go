package trust

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

func TestRefresh(t *testing.T) {
	f := newForge(t)
	dir := t.TempDir()
	c := f.open(dir)
	if got := c.Targets(); len(got) != 0 {
		t.Fatalf("offered before the first refresh: %v", got)
	}
	f.publish("0.10.0", "0.9.0")
	f.refresh(c, f.files)
	if got := offered(c); !slices.Equal(got, []string{"0.9.0", "0.10.0"}) {
		t.Fatalf("offered %v", got)
	}
	first := c.Targets()[0]
	if first.Name != "kubesolo-os-0.9.0-amd64.slot" || first.File() != first.SHA256+"."+first.Name || len(first.SHA256) != 64 ||
		first.Length != 1000 || !first.Released.Equal(f.now) || first.Architecture != "amd64" {
		t.Errorf("%+v", first)
	}
	// The same again, and after a restart without any source.
	f.refresh(c, f.files)
	if got := offered(f.open(dir)); len(got) != 2 {
		t.Errorf("after a restart: %v", got)
	}
	f.publish("0.11.0")
	f.refresh(c, f.files)
	if got := offered(c); !slices.Equal(got, []string{"0.11.0"}) {
		t.Errorf("offered %v", got)
	}
	if until := c.ValidUntil(); !until.Equal(f.now.AddDate(0, 1, 0)) {
		t.Errorf("valid until %s", until)
	}
	if r := c.Root(); r.Version != 1 || r.Repository != f.mark.Repository || r.Roles["root"].Threshold != 2 || len(r.Roles["root"].Keys) != 3 {
		t.Errorf("%+v", r)
	}
}

func TestRefusedMetadata(t *testing.T) {
	flip := func(name string, at int) func(*forge, files) {
		return func(f *forge, old files) {
			data := bytes.Clone(f.files[name])
			data[(at+len(data))%len(data)] ^= 1
			f.files[name] = data
		}
	}
	expire := func(role string) func(*forge, files) {
		return func(f *forge, old files) {
			f.expires[role] = f.now.Add(-time.Hour)
			f.publish("0.3.0")
		}
	}
	wrongKey := func(role string) func(*forge, files) {
		return func(f *forge, old files) {
			f.keys[role] = []ed25519.PrivateKey{key("somebody else's")}
			f.publish("0.3.0")
		}
	}
	begin := newForge(t)
	seenOld, seenNew := t.TempDir(), t.TempDir()
	begin.publish("0.1.0")
	old := begin.copy()
	begin.refresh(begin.open(seenOld), old)
	begin.publish("0.2.0")
	begin.refresh(begin.open(seenNew), old)
	begin.refresh(begin.open(seenNew), begin.files)
	for _, test := range []struct {
		name string
		bad  func(f *forge, old files) // makes the repository bad; old is the one the node has seen
		want error
		text string
	}{
		{"nothing there", func(f *forge, old files) { clear(f.files) }, fs.ErrNotExist, "timestamp.json: file does not exist"},
		{"empty file", func(f *forge, old files) { f.files["timestamp.json"] = nil }, ErrDamaged, "timestamp.json: damaged"},
		{"truncated timestamp", func(f *forge, old files) { f.files["timestamp.json"] = f.files["timestamp.json"][:200] }, ErrDamaged, "timestamp.json: damaged"},
		{"truncated snapshot", func(f *forge, old files) { f.files["2.snapshot.json"] = f.files["2.snapshot.json"][:200] }, ErrDamaged, "2.snapshot.json: damaged: cut off"},
		{"truncated targets", func(f *forge, old files) { f.files["2.targets.json"] = f.files["2.targets.json"][:200] }, ErrDamaged, "2.targets.json: damaged: cut off"},
		{"truncated root", func(f *forge, old files) {
			f.files["2.root.json"] = f.root(f.keys["root"]...)[:200]
		}, ErrDamaged, "2.root.json: damaged"},
		{"oversized timestamp", func(f *forge, old files) { f.files["timestamp.json"] = make([]byte, 1<<20) }, nil, "timestamp.json: longer than 16384 bytes"},
		{"oversized root", func(f *forge, old files) { f.files["2.root.json"] = make([]byte, 1<<20) }, nil, "2.root.json: longer than 65536 bytes"},
		{"flipped signature", flip("timestamp.json", 30), ErrSignature, "timestamp.json: not signed by"},
		{"flipped snapshot", flip("2.snapshot.json", 50), ErrDamaged, "2.snapshot.json: damaged"},
		{"flipped targets", flip("2.targets.json", 50), ErrDamaged, "2.targets.json: damaged"},
		{"unsigned", func(f *forge, old files) { f.keys["timestamp"] = nil; f.publish("0.3.0") }, ErrSignature, "timestamp.json: not signed by the keys that this node trusts (root version 1)"},
		{"unsigned snapshot", func(f *forge, old files) { f.keys["snapshot"] = nil; f.publish("0.3.0") }, ErrSignature, "3.snapshot.json: not signed"},
		{"unsigned targets", func(f *forge, old files) { f.keys["targets"] = nil; f.publish("0.3.0") }, ErrSignature, "3.targets.json: not signed"},
		{"other timestamp key", wrongKey("timestamp"), ErrSignature, "timestamp.json: not signed"},
		{"other snapshot key", wrongKey("snapshot"), ErrSignature, "3.snapshot.json: not signed"},
		{"other targets key", wrongKey("targets"), ErrSignature, "3.targets.json: not signed"},
		{"signed by another role", func(f *forge, old files) { f.keys["timestamp"] = f.keys["targets"]; f.publish("0.3.0") }, ErrSignature, "timestamp.json: not signed"},
		{"another publisher's", func(f *forge, old files) {
			*f = *newForge(t)
			f.keys["timestamp"] = []ed25519.PrivateKey{key("another")}
			f.publish("9.0.0")
		}, ErrSignature, "timestamp.json: not signed"},
		{"root below threshold", func(f *forge, old files) { f.root(f.keys["root"][0]) }, ErrSignature, "2.root.json: not signed"},
		{"root twice by one key", func(f *forge, old files) {
			f.files["2.root.json"] = f.root(f.keys["root"][0], f.keys["root"][0])
		}, ErrDamaged, "2.root.json: damaged"},
		{"root by new keys only", func(f *forge, old files) {
			f.keys["root"] = []ed25519.PrivateKey{key("x"), key("y")}
			f.root(f.keys["root"]...)
		}, ErrSignature, "2.root.json: not signed"},
		{"root by old keys only", func(f *forge, old files) {
			signers := f.keys["root"]
			f.keys["root"] = []ed25519.PrivateKey{key("x"), key("y")}
			f.root(signers...)
		}, ErrSignature, "2.root.json: not signed"},
		{"root that skips a version", func(f *forge, old files) {
			f.rootAt = 2
			f.files["2.root.json"] = f.root(f.keys["root"]...)
		}, ErrRollback, "2.root.json: older"},
		{"expired timestamp", expire("timestamp"), ErrExpired, "timestamp.json: expired at 2026-06-01 11:00 UTC, and it is 2026-06-01 12:00 UTC by the clock"},
		{"expired snapshot", expire("snapshot"), ErrExpired, "3.snapshot.json: expired at 2026-06-01 11:00 UTC"},
		{"expired targets", expire("targets"), ErrExpired, "3.targets.json: expired at 2026-06-01 11:00 UTC"},
		{"expired root", func(f *forge, old files) {
			f.expires["root"] = f.now.Add(-time.Hour)
			f.root(f.keys["root"]...)
		}, ErrExpired, "2.root.json: expired at 2026-06-01 11:00 UTC"},
		{"replayed repository", func(f *forge, old files) { f.files = old; delete(f.files, "2.targets.json") }, ErrRollback, "timestamp.json: older"},
		{"replayed snapshot", func(f *forge, old files) {
			f.at = 3
			f.timestamp(metaFile(1, f.files["1.snapshot.json"]))
		}, ErrRollback, "timestamp.json: older"},
		{"replayed targets", func(f *forge, old files) {
			f.at = 3
			f.snapshot(metaFile(1, f.files["1.targets.json"]))
		}, ErrRollback, "3.snapshot.json: older"},
		{"mixed: a snapshot of another state", func(f *forge, old files) {
			f.publish("0.3.0")
			f.files["3.snapshot.json"] = f.files["2.snapshot.json"]
		}, ErrDamaged, "3.snapshot.json: damaged: cut off, changed, or of another state"},
		{"mixed: targets of another state", func(f *forge, old files) {
			f.publish("0.3.0")
			f.files["3.targets.json"] = f.files["2.targets.json"]
		}, ErrDamaged, "3.targets.json: damaged: cut off, changed, or of another state"},
		{"one role's file for another's", func(f *forge, old files) { f.files["timestamp.json"] = f.files["2.snapshot.json"] }, ErrDamaged, "timestamp.json: damaged"},
		{"no snapshot named", func(f *forge, old files) {
			f.at = 3
			f.timestamp(nil)
		}, ErrDamaged, "timestamp.json: damaged"},
		{"no targets named", func(f *forge, old files) {
			f.at = 3
			f.snapshot(nil)
		}, ErrDamaged, "3.snapshot.json: damaged"},
		{"null target", func(f *forge, old files) {
			data := []byte(`{"signed":{"_type":"targets","targets":{"x":null}},"signatures":[]}`)
			f.at = 3
			f.snapshot(metaFile(3, f.write("%d.targets.json", data)))
		}, ErrDamaged, "3.targets.json: damaged"},
		{"bad target", func(f *forge, old files) { f.publish("1.0") }, ErrDamaged, `version "1.0" is none like 1.2.3`},
		{"snapshot not there", func(f *forge, old files) { f.publish("0.3.0"); delete(f.files, "3.snapshot.json") }, fs.ErrNotExist, "3.snapshot.json: file does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := begin.clone(t)
			seen := seenNew
			if strings.HasPrefix(test.name, "truncated") || strings.HasPrefix(test.name, "flipped") {
				seen = seenOld // else what is on disk is used instead
			}
			c := f.open(again(t, seen))
			before := offered(c)
			good := f.copy()
			test.bad(f, maps.Clone(old))
			err := c.Refresh(t.Context(), f.files)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Fatalf("error %v\nwant one with %q", err, test.text)
			}
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "updates from memory: ") {
				t.Errorf("not one line that names the source: %q", err)
			}
			if got := offered(c); !slices.Equal(got, before) {
				t.Errorf("offered after it: %v, before: %v", got, before)
			}
			// The publisher puts it right: nothing may be in the way.
			f = begin.clone(t)
			if f.files, f.rootAt, f.at = good, c.Root().Version, 10; f.rootAt > 1 {
				f.root(f.keys["root"]...) // the node has kept the bad one
			}
			f.publish("0.4.0")
			f.refresh(c, f.files)
			if got := offered(c); !slices.Equal(got, []string{"0.4.0"}) {
				t.Errorf("offered at last: %v", got)
			}
		})
	}
}

func TestRootsOverSeveralVersions(t *testing.T) {
	f := newForge(t)
	f.publish("0.1.0")
	c := f.open(t.TempDir())
	f.refresh(c, f.files)
	// 2 to 5: other root keys each time, some expired long ago, and other keys below.
	for i := range 4 {
		signers := f.keys["root"]
		f.keys["root"] = []ed25519.PrivateKey{key(fmt.Sprint("root", i)), key(fmt.Sprint("other", i))}
		f.keys["timestamp"] = []ed25519.PrivateKey{key(fmt.Sprint("timestamp", i))}
		f.expires["root"] = f.now.AddDate(0, i-2, 0)
		f.root(append(signers, f.keys["root"]...)...)
	}
	f.at = 0 // new timestamp keys: their versions begin anew, and may be lower
	f.publish("0.2.0")
	f.keys["targets"] = []ed25519.PrivateKey{key("unused")}
	f.refresh(c, f.files)
	if r := c.Root(); r.Version != 5 || !slices.Equal(offered(c), []string{"0.2.0"}) {
		t.Errorf("root %d, offered %v", r.Version, offered(c))
	}
}

// A stolen timestamp key can sign the highest version there is. New keys must end that.
func TestRecoveryFromAStolenKey(t *testing.T) {
	f := newForge(t)
	f.publish("0.1.0")
	c := f.open(t.TempDir())
	f.at = 1<<62 - 1
	f.publish("0.1.0")
	f.refresh(c, f.files)
	f.at = 2
	f.publish("0.2.0")
	if err := c.Refresh(t.Context(), f.files); !errors.Is(err, ErrRollback) {
		t.Fatalf("error %v", err)
	}
	for _, role := range []string{"targets", "snapshot", "timestamp"} {
		f.keys[role] = []ed25519.PrivateKey{key("new " + role)}
	}
	f.root(f.keys["root"]...)
	f.publish("0.2.0")
	f.refresh(c, f.files)
	if got := offered(c); !slices.Equal(got, []string{"0.2.0"}) {
		t.Errorf("offered %v", got)
	}
}

func TestTimeOfExpiry(t *testing.T) {
	f := newForge(t)
	f.publish("0.2.0")
	for _, test := range []struct {
		name       string
		now, floor time.Time
		text       string // "" = good
	}{
		{"clock not set, no floor", time.Unix(10, 0), time.Time{}, ""},
		{"clock not set, floor before the metadata", time.Unix(10, 0), f.now.AddDate(-1, 0, 0), ""},
		{"clock not set, floor after its end", time.Unix(10, 0), f.now.AddDate(1, 0, 0),
			"1.root.json: expired at 2026-07-01 12:00 UTC, and it is 2027-06-01 12:00 UTC by the build time of the image; the clock shows 1970-01-01 00:00 UTC"},
		{"clock right", f.now, f.now.AddDate(-1, 0, 0), ""},
		{"clock after its end", f.now.AddDate(0, 2, 0), f.now, "and it is 2026-08-01 12:00 UTC by the clock: bring a copy that is signed anew, unless the time is wrong"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := Open(Options{Dir: t.TempDir(), Root: f.files["1.root.json"], Now: func() time.Time { return test.now }, Floor: test.floor})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Refresh(t.Context(), f.files)
			if test.text == "" && err != nil || test.text != "" && (!errors.Is(err, ErrExpired) || !strings.Contains(err.Error(), test.text)) {
				t.Errorf("error %v, want %q", err, test.text)
			}
		})
	}
}

func TestRootOfTheImage(t *testing.T) {
	f := newForge(t)
	good := f.files["1.root.json"]
	f.mark.Repository = "../../etc"
	for name, root := range map[string][]byte{"none": nil, "cut off": good[:100], "another role": []byte(`{"signed":{"_type":"targets"},"signatures":[]}`),
		"null role": []byte(`{"signed":{"_type":"root","roles":{"root":null}},"signatures":[]}`), "unsigned": f.root(), "a path for a name": f.root(f.keys["root"]...)} {
		_, err := Open(Options{Dir: t.TempDir(), Root: root, Now: time.Now})
		if err == nil || !errors.Is(err, ErrDamaged) || !strings.HasPrefix(err.Error(), "trusted root of this image: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Made by another tool, without our field, and expired: a newer root may come.
	m := metadata.Root(f.now.AddDate(-1, 0, 0))
	public, err := metadata.KeyFromPublicKey(key("a").Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		if err := m.Signed.AddKey(public, role); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Open(Options{Dir: t.TempDir(), Root: sign(t, m, key("a")), Now: time.Now})
	if err != nil || c.Root().Repository != "" {
		t.Errorf("%+v, %v", c, err)
	}
}
