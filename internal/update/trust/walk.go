package trust

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"kubesolo.io/os/internal/update/source"
)

// maxRotations bounds how many roots one refresh walks through.
const maxRotations = 256

// walk is one pass through all roles, in the order of the specification (5.3 to 5.6).
type walk struct {
	disk cache
	src  source.Source // nil: only what is on disk
	now  time.Time     // of the clock
	time time.Time     // not before the floor
	set  *trustedmetadata.TrustedMetadata
}

func (c *Client) walk(src source.Source) (*walk, error) {
	w := &walk{disk: c.disk, src: src, now: c.o.Now()}
	w.time = w.now
	if c.o.Floor.After(w.now) {
		w.time = c.o.Floor
	}
	return w, guard(func() (err error) {
		if w.set, err = trustedmetadata.New(c.o.Root); err == nil {
			w.set.RefTime = w.time.UTC()
		}
		return err
	})
}

func (w *walk) all(ctx context.Context) ([]Target, error) {
	if err := w.roots(ctx); err != nil {
		return nil, err
	}
	if root := w.set.Root.Signed; root.IsExpired(w.set.RefTime) {
		return nil, w.expired(rootName(root.Version), root.Expires)
	}
	if err := w.timestamp(ctx); err != nil {
		return nil, err
	}
	if err := w.snapshot(ctx); err != nil {
		return nil, err
	}
	if err := w.targets(ctx); err != nil {
		return nil, err
	}
	return parseTargets(w.set.Targets[metadata.TARGETS].Signed.Targets)
}

// roots walks the chain: each next root from the disk, else from the source.
func (w *walk) roots(ctx context.Context) error {
	for range maxRotations {
		name := rootName(w.set.Root.Signed.Version + 1)
		if kept, err := w.disk.read(name, limitOf(metadata.ROOT)); err == nil && w.nextRoot(name, kept) == nil {
			continue
		}
		if w.src == nil {
			return nil
		}
		data, err := w.fetch(ctx, name, metadata.ROOT)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err == nil {
			err = w.nextRoot(name, data)
		}
		if err == nil {
			err = w.disk.write(name, data)
		}
		if err != nil {
			return err
		}
	}
	// Roots on disk that the chain does not reach: one before them is damaged
	// here, and held back there.
	reached := w.set.Root.Signed.Version
	if seen := w.disk.highestRoot(); seen > reached {
		return fmt.Errorf("%s: %w: this node has trusted roots up to version %d: use a complete copy of the repository",
			rootName(reached+1), ErrRollback, seen)
	}
	return nil
}

func (w *walk) nextRoot(name string, data []byte) error {
	err := guard(func() error { _, err := w.set.UpdateRoot(data); return err })
	return w.explain(name, data, err)
}

func (w *walk) timestamp(ctx context.Context) error {
	const name = "timestamp.json"
	if kept, _ := w.kept(metadata.TIMESTAMP); kept != nil {
		// An error says that it is expired: its version counts all the same.
		_ = guard(func() error { _, err := w.set.UpdateTimestamp(kept); return err })
	}
	if w.src != nil {
		data, err := w.fetch(ctx, name, metadata.TIMESTAMP)
		if err != nil {
			return err
		}
		err = guard(func() error { _, err := w.set.UpdateTimestamp(data); return err })
		var known *metadata.ErrEqualVersionNumber
		if !errors.As(err, &known) {
			if err == nil {
				err = w.notOlder(name, metadata.SNAPSHOT, w.set.Timestamp.Signed.Meta)
			}
			if err != nil {
				return w.explain(name, data, err)
			}
			if err := w.disk.write(name, data); err != nil {
				return err
			}
		}
	}
	if w.set.Timestamp == nil {
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if timestamp := w.set.Timestamp.Signed; timestamp.IsExpired(w.set.RefTime) {
		return w.expired(name, timestamp.Expires)
	}
	return nil
}

func (w *walk) snapshot(ctx context.Context) error {
	update := func(data []byte, trusted bool) error {
		return guard(func() error { _, err := w.set.UpdateSnapshot(data, trusted); return err })
	}
	if kept, _ := w.kept(metadata.SNAPSHOT); kept != nil {
		if update(kept, false) == nil {
			return nil
		}
		// An older one: loaded for the versions that it names.
		_ = update(kept, true)
	}
	name, data, err := w.fetchNamed(ctx, metadata.SNAPSHOT, w.set.Timestamp.Signed.Meta)
	if err != nil {
		return err
	}
	err = update(data, false)
	if err == nil {
		err = w.notOlder(name, metadata.TARGETS, w.set.Snapshot.Signed.Meta)
	}
	if err != nil {
		return w.explain(name, data, err)
	}
	return w.disk.write("snapshot.json", data)
}

func (w *walk) targets(ctx context.Context) error {
	update := func(data []byte) error {
		return guard(func() error { _, err := w.set.UpdateTargets(data); return err })
	}
	if kept, _ := w.kept(metadata.TARGETS); kept != nil && update(kept) == nil {
		return nil
	}
	name, data, err := w.fetchNamed(ctx, metadata.TARGETS, w.set.Snapshot.Signed.Meta)
	if err != nil {
		return err
	}
	if err := update(data); err != nil {
		return w.explain(name, data, err)
	}
	return w.disk.write("targets.json", data)
}

// until is when the first of the files expires that the walk has come through.
func (w *walk) until() time.Time {
	return slices.MinFunc([]time.Time{w.set.Root.Signed.Expires, w.set.Timestamp.Signed.Expires, w.set.Snapshot.Signed.Expires,
		w.set.Targets[metadata.TARGETS].Signed.Expires}, time.Time.Compare)
}

// fetchNamed fetches the version of a role's file that the file above it names.
func (w *walk) fetchNamed(ctx context.Context, role string, meta map[string]*metadata.MetaFiles) (name string, data []byte, err error) {
	named := meta[role+".json"]
	if named == nil {
		return "", nil, fmt.Errorf("%s.json: %w: the file that must name it does not", role, ErrDamaged)
	}
	name = fmt.Sprintf("%d.%s.json", named.Version, role)
	data, err = w.fetch(ctx, name, role)
	return name, data, err
}

func (w *walk) fetch(ctx context.Context, name, role string) ([]byte, error) {
	if w.src == nil {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	limit := limitOf(role)
	data, err := w.src.Metadata(ctx, name, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes, a node reads %d at most", name, ErrDamaged, len(data), limit)
	}
	return data, nil
}

// kept returns a role's file from the disk, and its version, when the trusted root's keys
// have signed it. A file whose keys were replaced since is as good as absent: that is how
// a repository recovers whose stolen keys were used to sign version 2^62 (5.3.11).
func (w *walk) kept(role string) (data []byte, version int64) {
	data, err := w.disk.read(role+".json", limitOf(role))
	if err == nil {
		err = guard(func() error {
			signed, err := parse(role, data)
			if err != nil {
				return err
			}
			return w.set.Root.VerifyDelegate(role, signed)
		})
	}
	if err != nil {
		return nil, 0
	}
	version, _ = header(data)
	return data, version
}

// notOlder refuses the file name when it names no version of role, or a lower one than is
// on disk.
// The library compares with the file that named it there, and so forgets when just that
// one is damaged.
func (w *walk) notOlder(name, role string, meta map[string]*metadata.MetaFiles) error {
	named := meta[role+".json"]
	if named == nil {
		return fmt.Errorf("it does not name %s.json", role)
	}
	if _, version := w.kept(role); named.Version < version {
		return &metadata.ErrBadVersionNumber{Msg: fmt.Sprintf("it names version %d of %s, and version %d was seen", named.Version, role, version)}
	}
	return nil
}

// limitOf bounds a role's file, in bytes. A release takes about 1 kB of targets.json.
func limitOf(role string) int64 {
	switch role {
	case metadata.TIMESTAMP:
		return 16 << 10
	case metadata.TARGETS:
		return 1 << 20
	}
	return 64 << 10
}

func rootName(version int64) string { return fmt.Sprintf("%d.root.json", version) }
