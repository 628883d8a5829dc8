package tufrepo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/update/trust"
)

func TestExpiryAndRefresh(t *testing.T) {
	k := newKeys(t, false)
	r := newRepository(t, k)
	add(t, r, release(t, "0.1.0"))
	r.Time = start().Add(31 * day)
	if _, err := verified(t, r); !errors.Is(err, trust.ErrExpired) {
		t.Fatalf("error %v", err)
	}
	// A job that has no key but those of snapshot and timestamp.
	job := t.TempDir()
	for role := range map[string]bool{"snapshot": true, "timestamp": true} {
		move(t, k, role, job, true)
	}
	if err := os.WriteFile(filepath.Join(job, "1.root.json"), k.RootFile(), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Keys = open(t, job)
	if err := r.Refresh(); err != nil {
		t.Fatal(err)
	}
	wantOffered(t, r, "0.1.0")
	// Targets ended: only its key helps.
	r.Time = start().Add(181 * day)
	if err := r.Refresh(); !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), "targets.json expired at") {
		t.Errorf("error %v", err)
	}
	r.Keys = k
	if err := r.Refresh(); err != nil {
		t.Fatal(err)
	}
	wantOffered(t, r, "0.1.0")
}

// move takes the keys of a role to another directory.
func move(t *testing.T, k *Keys, role, dir string, copied bool) {
	t.Helper()
	root, err := k.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range root.Roles[role].Keys {
		from := k.Files()[id]
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(from)), text, 0o600)
		}
		if err == nil && !copied {
			err = os.Remove(from)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Root keys on sticks: two of the three are enough, one is not.
func TestRotateRoot(t *testing.T) {
	k := newKeys(t, false)
	r := newRepository(t, k)
	add(t, r, release(t, "0.1.0"))
	sticks := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	root, err := k.Root()
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range root.Roles["root"].Keys {
		if err := os.Rename(k.Files()[id], filepath.Join(sticks[i], filepath.Base(k.Files()[id]))); err != nil {
			t.Fatal(err)
		}
	}
	rotation := Rotation{Roles: []string{"root"}, RootKeys: 2, Threshold: 1, Time: start(), Expiry: DefaultExpiry()}
	before := content(t, k.dir)
	err = open(t, k.dir, sticks[0]).Rotate(rotation)
	if !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), "2 of its keys must sign the next one, and 1 are here") {
		t.Errorf("error %v", err)
	}
	if after := content(t, k.dir); len(after) != len(before) {
		t.Error("a rotation that failed left something")
	}
	r.Keys = open(t, k.dir, sticks[0], sticks[2])
	if err := r.Keys.Rotate(rotation); err != nil {
		t.Fatal(err)
	}
	wantOffered(t, r, "0.1.0")
	// The new keys alone make the third root, and the fourth is only signed again.
	r.Keys = open(t, k.dir)
	rotation = Rotation{Roles: []string{"root"}, Time: start(), Expiry: DefaultExpiry()}
	if err := r.Keys.Rotate(rotation); err != nil {
		t.Fatal(err)
	}
	r.Keys = open(t, k.dir)
	if err := r.Keys.Rotate(Rotation{Time: start().Add(300 * day), Expiry: DefaultExpiry()}); err != nil {
		t.Fatal(err)
	}
	r.Keys = open(t, k.dir)
	now, err := r.Keys.Root()
	if err != nil || now.Version != 4 || now.Roles["root"].Threshold != 1 || len(now.Roles["root"].Keys) != 2 ||
		now.Repository != root.Repository || !now.Expires.Equal(start().Add(665*day)) {
		t.Errorf("%+v, %v", now, err)
	}
	// Published with the next release; nodes that have root 1 follow.
	add(t, r, release(t, "0.2.0"))
	wantOffered(t, r, "0.1.0", "0.2.0")
	r.Time = start().Add(400 * day)
	add(t, r, release(t, "0.3.0"))
	wantOffered(t, r, "0.1.0", "0.2.0", "0.3.0")
}

func TestRotateOnlineKeys(t *testing.T) {
	for _, roles := range [][]string{{"targets"}, {"snapshot"}, {"timestamp"}, {"targets", "snapshot", "timestamp"}, {"root", "targets"}} {
		t.Run(strings.Join(roles, " "), func(t *testing.T) {
			k := newKeys(t, false)
			r := newRepository(t, k)
			add(t, r, release(t, "0.1.0"))
			old := open(t, k.dir)
			if err := k.Rotate(Rotation{Roles: roles, Time: start(), Expiry: DefaultExpiry()}); err != nil {
				t.Fatal(err)
			}
			wantOffered(t, r, "0.1.0") // nothing published yet
			r.Keys = open(t, k.dir)
			if err := r.Refresh(); err != nil {
				t.Fatal(err)
			}
			wantOffered(t, r, "0.1.0")
			// The same when the publisher was interrupted before the root.
			if err := os.Remove(r.metadata("2.root.json")); err != nil {
				t.Fatal(err)
			}
			add(t, r, release(t, "0.2.0"))
			wantOffered(t, r, "0.1.0", "0.2.0")
			// The old key is worth nothing any more.
			r.Keys = old
			_, err := r.Add(release(t, "0.3.0"))
			if err == nil || !strings.Contains(err.Error(), "it was not signed with the keys in") {
				t.Errorf("error %v", err)
			}
		})
	}
	k := newKeys(t, false)
	if err := k.Rotate(Rotation{Roles: []string{"mirror"}, Time: start()}); err == nil || !strings.Contains(err.Error(), `role "mirror"`) {
		t.Errorf("error %v", err)
	}
}

// What somebody changed in the repository is not signed again.
func TestChangedRepositoriesAreNotSigned(t *testing.T) {
	for _, name := range []string{"timestamp.json", "2.snapshot.json", "2.targets.json"} {
		r := newRepository(t, newKeys(t, false))
		add(t, r, release(t, "0.1.0"))
		add(t, r, release(t, "0.2.0"))
		text, err := os.ReadFile(r.metadata(name))
		if err == nil {
			err = os.WriteFile(r.metadata(name), []byte(strings.Replace(string(text), `"version": 2`, `"version": 3`, 1)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Refresh(); err == nil || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), "was not signed with the keys in") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Nodes that read while somebody publishes see the state before or after, and no mixture.
func TestReadersMeetNoMixture(t *testing.T) {
	k := newKeys(t, false)
	r := newRepository(t, k)
	add(t, r, release(t, "0.1.0"))
	done := make(chan error)
	go func() {
		for range 12 {
			if err := r.Refresh(); err != nil {
				done <- err
				return
			}
		}
		close(done)
	}()
	for reads := 0; ; reads++ {
		select {
		case err := <-done:
			if err != nil || reads == 0 {
				t.Errorf("%d reads, %v", reads, err)
			}
			return
		default:
			if _, err := Verify(t.Context(), r.Dir, k.RootFile(), start()); err != nil {
				t.Error(err)
			}
		}
	}
}

// A publisher who is interrupted leaves files that no timestamp names.
func TestPublishAfterAnInterruptedOne(t *testing.T) {
	r := newRepository(t, newKeys(t, false))
	add(t, r, release(t, "0.1.0"))
	for _, name := range []string{"metadata/2.targets.json", "metadata/2.snapshot.json", "metadata/.timestamp.json.1.tmp", "targets/.kubesolo-os-0.2.0-amd64.slot.part"} {
		if err := os.WriteFile(filepath.Join(r.Dir, name), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wantOffered(t, r, "0.1.0")
	add(t, r, release(t, "0.2.0"))
	wantOffered(t, r, "0.1.0", "0.2.0")
}

func TestOnePublisherAtATime(t *testing.T) {
	r := newRepository(t, newKeys(t, false))
	unlock, err := r.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(release(t, "0.1.0")); err == nil || !strings.Contains(err.Error(), "somebody else is publishing") {
		t.Errorf("error %v", err)
	}
	unlock()
	add(t, r, release(t, "0.1.0"))
}

func TestVerifyReadsTheImages(t *testing.T) {
	r := newRepository(t, newKeys(t, false))
	target := add(t, r, release(t, "0.1.0"))
	file := filepath.Join(r.Dir, "targets", target.File())
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := verified(t, r); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: error %v", err)
	}
	for bad, want := range map[string]string{"image of 0.1.1": "was changed; publish it again", "image": "5 bytes, not 14", "image of 0.1.0 and more": "23 bytes, not 14"} {
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := verified(t, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), "ksimage keys init") {
		t.Errorf("no keys: %v", err)
	}
	k := newKeys(t, false)
	if _, err := Open(k.dir, "absent"); err == nil {
		t.Error("an absent directory was taken")
	}
	for text, want := range map[string]string{
		"":                            "no PEM of type PRIVATE KEY",
		"-----BEGIN PRIVATE KEY-----": "no PEM of type PRIVATE KEY",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n":                     "asn1",
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n": "only unencrypted PKCS #8",
	} {
		if err := os.WriteFile(filepath.Join(k.dir, "bad.pem"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(k.dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "bad.pem") {
			t.Errorf("%q: error %v", text, err)
		}
	}
	if err := os.Remove(filepath.Join(k.dir, "bad.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, "2.root.json"), k.RootFile(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(k.dir); err == nil || !strings.Contains(err.Error(), "2.root.json is version 1") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(testNote + "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := parseKey(text); err == nil && (len(k.id) != 64 || len(k.secret) != 64) {
			t.Errorf("taken: %+v", k)
		}
	})
}
