package tufrepo

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/update/trust"
)

func start() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

// newKeys makes two of three root keys, with random keys unless test.
func newKeys(t *testing.T, test bool) *Keys {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := Init(NewKeys{Dir: dir, RootKeys: 3, Threshold: 2, Test: test, Time: start(), Expiry: DefaultExpiry()}); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func open(t *testing.T, dir string, more ...string) *Keys {
	t.Helper()
	k, err := Open(dir, more...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newRepository(t *testing.T, k *Keys) *Repository {
	return &Repository{Dir: filepath.Join(t.TempDir(), "repository"), Keys: k, Time: start(), Expiry: DefaultExpiry()}
}

func slotImage(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "slot.squashfs")
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func release(t *testing.T, version string) Release {
	return Release{File: slotImage(t, "image of "+version), Version: version, Architecture: "amd64", Channels: []string{"stable"}, Released: start()}
}

func add(t *testing.T, r *Repository, release Release) trust.Target {
	t.Helper()
	target, err := r.Add(release)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// verified returns the versions that a node with the first root is offered.
func verified(t *testing.T, r *Repository) (versions []string, err error) {
	t.Helper()
	status, err := Verify(t.Context(), r.Dir, r.Keys.FirstRoot(), r.Time)
	for _, target := range status.Targets {
		versions = append(versions, target.Version)
	}
	return versions, err
}

func wantOffered(t *testing.T, r *Repository, want ...string) {
	t.Helper()
	if got, err := verified(t, r); err != nil || !slices.Equal(got, want) {
		t.Errorf("offered %v, %v; want %v", got, err, want)
	}
}

// content is all files below dir, with their modes.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = info.Mode().String() + " " + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestInit(t *testing.T) {
	k := newKeys(t, false)
	files := content(t, k.dir)
	if len(files) != 7 {
		t.Errorf("%d files", len(files))
	}
	for name, text := range files {
		if strings.HasSuffix(name, ".pem") && (!strings.HasPrefix(text, "-rw-------") || !strings.Contains(text, " -----BEGIN PRIVATE KEY-----\n")) {
			t.Errorf("%s: %.60s", name, text)
		}
	}
	root, err := k.Root()
	if err != nil || root.TestKeys || root.Version != 1 || root.Roles["root"].Threshold != 2 || len(root.Roles["root"].Keys) != 3 ||
		!root.Expires.Equal(start().AddDate(1, 0, 0)) || len(root.Repository) != 16 {
		t.Errorf("%+v, %v", root, err)
	}
	for role, r := range root.Roles {
		for _, id := range r.Keys {
			if want := filepath.Join(k.dir, role+"-"+id[:8]+".pem"); k.Files()[id] != want {
				t.Errorf("key %s is in %s, want %s", id, k.Files()[id], want)
			}
		}
	}
	if err := Init(NewKeys{Dir: k.dir, RootKeys: 1, Threshold: 1, Time: start()}); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("over other keys: %v", err)
	}
	for _, n := range []NewKeys{{RootKeys: 0, Threshold: 1}, {RootKeys: 1, Threshold: 2}, {RootKeys: 17, Threshold: 1}, {RootKeys: 2, Threshold: -1}} {
		n.Dir, n.Time = filepath.Join(t.TempDir(), "k"), start()
		if err := Init(n); err == nil || !strings.Contains(err.Error(), "want 1 to 16 keys") {
			t.Errorf("%+v: error %v", n, err)
		}
		if left, _ := filepath.Glob(n.Dir + "*"); len(left) > 0 {
			t.Errorf("%+v left %v", n, left)
		}
	}
}

// Test keys are the same everywhere. When this fails, test images of before and after
// cannot update to each other.
func TestTestKeys(t *testing.T) {
	var roots [2][]byte
	for i := range roots {
		dir := filepath.Join(t.TempDir(), "build", "keys")
		for range 2 { // the second does nothing
			if err := InitTest(dir); err != nil {
				t.Fatal(err)
			}
		}
		k := open(t, dir)
		roots[i] = k.RootFile()
		root, err := k.Root()
		if err != nil || !root.TestKeys || root.Repository != "41eab8cb67b1467e" {
			t.Errorf("%+v, %v", root, err)
		}
		for _, file := range k.Files() {
			if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), testNote) {
				t.Errorf("%s does not say what it is: %v", file, err)
			}
		}
	}
	if !bytes.Equal(roots[0], roots[1]) {
		t.Error("two roots of test keys differ")
	}
}

func TestAdd(t *testing.T) {
	r := newRepository(t, newKeys(t, false))
	target := add(t, r, Release{File: slotImage(t, "one"), Version: "0.1.0", Architecture: "amd64", Channels: []string{"beta"}, Notes: "first <b>", Released: start()})
	if target.Length != 3 || target.Notes != "first <b>" || target.File() != target.SHA256+".kubesolo-os-0.1.0-amd64.slot" {
		t.Errorf("%+v", target)
	}
	add(t, r, Release{File: slotImage(t, "two"), Version: "0.2.0", Architecture: "amd64", Channels: []string{"stable"}, MinVersion: "0.1.0", Released: start(), Rollout: 48 * time.Hour})
	wantOffered(t, r, "0.1.0", "0.2.0")
	// The same image, promoted.
	add(t, r, Release{File: slotImage(t, "one"), Version: "0.1.0", Architecture: "amd64", Channels: []string{"beta", "stable"}, Released: start()})
	root := r.Keys.RootFile()
	status, err := Verify(t.Context(), r.Dir, root, start())
	if err != nil || len(status.Targets) != 2 || status.Targets[1].Rollout != "48h0m0s" || !slices.Equal(status.Targets[0].Channels, []string{"beta", "stable"}) ||
		!status.ValidUntil.Equal(start().Add(30*day)) || status.Root.Version != 1 {
		t.Errorf("%+v, %v", status, err)
	}
	before := content(t, r.Dir)
	for want, bad := range map[string]Release{
		"published already, with another image": {File: slotImage(t, "other"), Version: "0.1.0", Architecture: "amd64", Channels: []string{"stable"}, Released: start()},
		"none like 1.2.3":                       {File: slotImage(t, "x"), Version: "1", Architecture: "amd64", Channels: []string{"stable"}, Released: start()},
		"at least one":                          {File: slotImage(t, "x"), Version: "1.0.0", Architecture: "amd64", Released: start()},
		"no such file":                          {File: "absent", Version: "1.0.0", Architecture: "amd64", Channels: []string{"stable"}, Released: start()},
		"a length of 0 bytes":                   {File: slotImage(t, ""), Version: "1.0.0", Architecture: "amd64", Channels: []string{"stable"}, Released: start()},
		"not UTF-8":                             {File: slotImage(t, "x"), Version: "1.0.0", Architecture: "amd64", Channels: []string{"stable"}, Notes: "\xff", Released: start()},
		"cannot be negative":                    {File: slotImage(t, "x"), Version: "1.0.0", Architecture: "amd64", Channels: []string{"stable"}, Rollout: -1, Released: start()},
		"architecture":                          {File: slotImage(t, "x"), Version: "1.0.0", Architecture: "../../x", Channels: []string{"stable"}, Released: start()},
	} {
		if _, err := r.Add(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if after := content(t, r.Dir); len(after) != len(before) {
		t.Errorf("refused releases left something: %d files, before %d", len(after), len(before))
	}
}

// A link is followed, and a second name of the image is enough.
func TestAddLinksTheImage(t *testing.T) {
	r := newRepository(t, newKeys(t, false))
	image := slotImage(t, "image")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(image, link); err != nil {
		t.Fatal(err)
	}
	target := add(t, r, Release{File: link, Version: "0.1.0", Architecture: "amd64", Channels: []string{"stable"}, Released: start()})
	a, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Lstat(filepath.Join(r.Dir, "targets", target.File()))
	if err != nil || !os.SameFile(a, b) {
		t.Errorf("%v, %v", b, err)
	}
	add(t, r, Release{File: image, Version: "0.1.0", Architecture: "amd64", Channels: []string{"beta"}, Released: start()})
	if left, err := os.ReadDir(filepath.Join(r.Dir, "targets")); err != nil || len(left) != 1 {
		t.Errorf("published again: %v, %v", left, err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := copyFile(image, copied); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(copied); err != nil || string(text) != "image" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestWithdraw(t *testing.T) {
	r := newRepository(t, newKeys(t, false))
	add(t, r, release(t, "0.1.0"))
	add(t, r, release(t, "0.2.0"))
	if err := r.Withdraw("0.2.0"); err != nil {
		t.Fatal(err)
	}
	wantOffered(t, r, "0.1.0")
	if err := r.Withdraw("0.2.0"); err == nil || !strings.Contains(err.Error(), "version 0.2.0 is not in") {
		t.Errorf("error %v", err)
	}
}

// The same keys, inputs and time give the same bytes.
func TestReproducible(t *testing.T) {
	var made [2]map[string]string
	for i := range made {
		k := newKeys(t, true)
		r := newRepository(t, k)
		add(t, r, release(t, "0.1.0"))
		add(t, r, release(t, "0.2.0"))
		if err := k.Rotate(Rotation{Roles: []string{"root", "targets", "snapshot", "timestamp"}, Time: start(), Expiry: DefaultExpiry()}); err != nil {
			t.Fatal(err)
		}
		if err := r.Refresh(); err != nil {
			t.Fatal(err)
		}
		made[i] = content(t, filepath.Dir(r.Dir))
		for name, text := range content(t, k.dir) {
			made[i]["keys/"+name] = text
		}
	}
	for name, text := range made[0] {
		if made[1][name] != text {
			t.Errorf("%s differs", name)
		}
	}
	if len(made[0]) != len(made[1]) || len(made[0]) < 20 {
		t.Errorf("%d and %d files", len(made[0]), len(made[1]))
	}
}
