package tufrepo

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/update/trust"
)

// Keys is a key directory, and what private keys were found in it and elsewhere.
type Keys struct {
	dir   string
	root  *metadata.Metadata[metadata.RootType] // the newest
	text  []byte                                // of it
	first []byte                                // 1.root.json
	known map[string]privateKey
}

// NewKeys says what keys to make.
type NewKeys struct {
	Dir       string
	RootKeys  int  // how many keys of the root there are
	Threshold int  // how many of them must sign a new root
	Test      bool // keys that everybody can compute
	Time      time.Time
	Expiry    Expiry
}

// ErrKeys is wrapped by errors about keys that are not there.
var ErrKeys = errors.New("keys are missing")

// Init makes a key directory: new keys for all roles and 1.root.json. Dir must be absent
// or empty.
func Init(n NewKeys) error {
	if entries, err := os.ReadDir(n.Dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty: new keys go into a directory of their own", n.Dir)
	}
	// All or nothing: half a set of keys would be taken for a whole one.
	part := filepath.Clean(n.Dir) + ".part"
	if err := os.MkdirAll(filepath.Dir(part), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(part, 0o700); err != nil {
		return fmt.Errorf("new keys: %w: remove it if nobody else is making keys", err)
	}
	k := &Keys{dir: part, root: metadata.Root(), known: map[string]privateKey{}}
	err := k.next(Rotation{Roles: metadata.TOP_LEVEL_ROLE_NAMES[:], RootKeys: n.RootKeys, Threshold: n.Threshold, Time: n.Time, Expiry: n.Expiry}, n.Test)
	if err == nil {
		err = k.save()
	}
	if err == nil {
		err = os.Rename(part, n.Dir)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part)) // ours: made above
	}
	return nil
}

// InitTest makes dir a directory of test keys, unless it holds keys already. All test keys
// and roots are the same, on every machine and at any time, so that two builds of one
// commit give the same image, and any test image takes any test repository.
func InitTest(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "1.root.json")); err == nil {
		return nil
	}
	e := DefaultExpiry()
	e.Root = 50 * 365 * day
	return Init(NewKeys{Dir: dir, RootKeys: 1, Threshold: 1, Test: true, Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Expiry: e})
}

// Open reads a key directory, and further private keys from other directories.
func Open(dir string, more ...string) (*Keys, error) {
	number := int64(0)
	for {
		if _, err := os.Stat(filepath.Join(dir, rootName(number+1))); err != nil {
			break
		}
		number++
	}
	if number == 0 {
		return nil, fmt.Errorf("%s: %w: there is no 1.root.json; ksimage keys init %s makes keys", dir, ErrKeys, dir)
	}
	k := &Keys{dir: dir}
	var err error
	if k.first, err = os.ReadFile(filepath.Join(dir, rootName(1))); err != nil {
		return nil, err
	}
	if k.text, err = os.ReadFile(filepath.Join(dir, rootName(number))); err != nil {
		return nil, err
	}
	if _, err := trust.Inspect(k.text); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, rootName(number)), err)
	}
	if k.root, err = metadata.Root().FromBytes(k.text); err != nil {
		return nil, err
	}
	if k.root.Signed.Version != number {
		return nil, fmt.Errorf("%s is version %d", filepath.Join(dir, rootName(number)), k.root.Signed.Version)
	}
	k.known, err = loadKeys(append([]string{dir}, more...))
	return k, err
}

// RootFile is the newest root.json, for images and repositories.
func (k *Keys) RootFile() []byte { return slices.Clone(k.text) }

// FirstRoot is 1.root.json, for checking a repository as the oldest node would.
func (k *Keys) FirstRoot() []byte { return slices.Clone(k.first) }

// Root describes the newest one.
func (k *Keys) Root() (trust.Root, error) { return trust.Inspect(k.text) }

// Files tells which keys can sign here: key id -> file.
func (k *Keys) Files() map[string]string {
	files := map[string]string{}
	for id, key := range k.known {
		files[id] = key.file
	}
	return files
}

// Rotation says what a new root changes.
type Rotation struct {
	Roles     []string // that get new keys; none: the root is only signed again, for a longer time
	RootKeys  int      // when the root gets new keys; 0: as many as before
	Threshold int      // of the root's new keys; 0: as before
	Time      time.Time
	Expiry    Expiry
}

// Rotate makes the next root in the key directory, signed by the old root's keys and by its
// own. Repositories get it, and files signed anew where that is needed, when something is
// published the next time.
func (k *Keys) Rotate(r Rotation) error {
	root, err := k.Root()
	if err == nil {
		err = k.next(r, root.TestKeys)
	}
	if err == nil {
		err = k.save()
	}
	return err
}

// next replaces k.root by the next one, in memory.
func (k *Keys) next(r Rotation, test bool) error {
	old := k.root
	first := k.text == nil
	root := metadata.Root(expires(r.Time, r.Expiry.Root))
	root.Signed.UnrecognizedFields = old.Signed.UnrecognizedFields
	if !first {
		root.Signed.Version = old.Signed.Version + 1
	}
	for _, role := range r.Roles {
		if !slices.Contains(metadata.TOP_LEVEL_ROLE_NAMES[:], role) {
			return fmt.Errorf("role %q: there are %s", role, strings.Join(metadata.TOP_LEVEL_ROLE_NAMES[:], ", "))
		}
	}
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		was := old.Signed.Roles[role]
		if !slices.Contains(r.Roles, role) {
			for _, id := range was.KeyIDs {
				if err := root.Signed.AddKey(old.Signed.Keys[id], role); err != nil {
					return err
				}
			}
			root.Signed.Roles[role].Threshold = was.Threshold
			continue
		}
		keys, threshold := 1, 1
		if role == metadata.ROOT {
			keys, threshold = cmp.Or(r.RootKeys, len(was.KeyIDs)), cmp.Or(r.Threshold, was.Threshold)
			if threshold < 1 || keys < threshold || keys > 16 {
				return fmt.Errorf("%d keys of the root, of which %d must sign: want 1 to 16 keys, and not more signatures than keys", keys, threshold)
			}
		}
		root.Signed.Roles[role].Threshold = threshold
		for number := range keys {
			key, err := generate(test, role, number+1, root.Signed.Version)
			if err != nil {
				return err
			}
			k.known[key.id] = key
			if err := root.Signed.AddKey(key.public, role); err != nil {
				return err
			}
		}
	}
	if first {
		ids := slices.Sorted(slices.Values(root.Signed.Roles[metadata.ROOT].KeyIDs))
		sum := sha256.Sum256([]byte(strings.Join(ids, "\n")))
		root.Signed.UnrecognizedFields = map[string]any{
			trust.RootField: trust.RootMark{Repository: hex.EncodeToString(sum[:8]), TestKeys: test}}
	}
	if err := k.signRoot(old, root, first); err != nil {
		return err
	}
	text, err := encode(root)
	if err != nil {
		return err
	}
	k.root, k.text = root, text
	return nil
}

// signRoot signs with all keys of the old and of the new root that are here.
func (k *Keys) signRoot(old, root *metadata.Metadata[metadata.RootType], first bool) error {
	ids := slices.Clone(root.Signed.Roles[metadata.ROOT].KeyIDs)
	if !first {
		ids = append(ids, old.Signed.Roles[metadata.ROOT].KeyIDs...)
	}
	slices.Sort(ids)
	signed := map[string]bool{}
	for _, id := range slices.Compact(ids) {
		if key, ok := k.known[id]; ok {
			if _, err := root.Sign(key.signer); err != nil {
				return err
			}
			signed[id] = true
		}
	}
	if first {
		return nil
	}
	had := 0
	for _, id := range old.Signed.Roles[metadata.ROOT].KeyIDs {
		if signed[id] {
			had++
		}
	}
	if need := old.Signed.Roles[metadata.ROOT].Threshold; had < need {
		return fmt.Errorf("root version %d: %w: %d of its keys must sign the next one, and %d are here: name the directories of the others with --with",
			old.Signed.Version, ErrKeys, need, had)
	}
	if err := root.VerifyDelegate(metadata.ROOT, root); err != nil {
		return fmt.Errorf("root version %d: %w: %w", root.Signed.Version, ErrKeys, err)
	}
	return nil
}

// save writes the newest root, and before it the private keys that it brought.
func (k *Keys) save() error {
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		for _, id := range k.root.Signed.Roles[role].KeyIDs {
			key, ok := k.known[id]
			if !ok || key.file != "" {
				continue
			}
			mark, err := k.Root()
			if err == nil {
				err = key.save(k.dir, role, mark.TestKeys)
			}
			if err != nil {
				return err
			}
			k.known[id] = key
		}
	}
	return atomicfile.Write(filepath.Join(k.dir, rootName(k.root.Signed.Version)), k.text, 0o644)
}

// signer returns the key of an online role.
func (k *Keys) signer(role string) (privateKey, error) {
	for _, id := range k.root.Signed.Roles[role].KeyIDs {
		if key, ok := k.known[id]; ok {
			return key, nil
		}
	}
	return privateKey{}, fmt.Errorf("role %s: %w: none of its keys (%s) is in %s", role, ErrKeys,
		strings.Join(k.root.Signed.Roles[role].KeyIDs, ", "), k.dir)
}

func rootName(version int64) string { return fmt.Sprintf("%d.root.json", version) }

// expires is whole seconds in UTC, as the specification wants it.
func expires(t time.Time, d time.Duration) time.Time { return t.Add(d).UTC().Truncate(time.Second) }

// encode is for people too, who look at what they sign.
func encode[T metadata.Roles](m *metadata.Metadata[T]) ([]byte, error) {
	text, err := m.ToBytes(true)
	return append(text, '\n'), err
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
