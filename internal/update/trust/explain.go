package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// What can be wrong with metadata.
var (
	ErrSignature = errors.New("not signed by the keys that this node trusts")
	ErrExpired   = errors.New("expired")
	ErrRollback  = errors.New("older than what this node has seen")
	ErrDamaged   = errors.New("damaged")
)

// guard calls into the TUF library, which ends in a nil pointer for some files, "null" in
// the place of an object being one, before it has checked their signature (2.4.2).
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not the shape of TUF metadata (%v)", r)
		}
	}()
	return f()
}

// explain makes one line of the library's error about file name: what is wrong, and what
// to do. Nil stays nil.
func (w *walk) explain(name string, data []byte, err error) error {
	var (
		expired  *metadata.ErrExpiredMetadata
		unsigned *metadata.ErrUnsignedMetadata
		version  *metadata.ErrBadVersionNumber
		other    *metadata.ErrLengthOrHashMismatch
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &expired):
		_, expires := header(data)
		return w.expired(name, expires)
	case errors.As(err, &unsigned):
		return fmt.Errorf("%s: %w (root version %d): made with other keys, or changed by somebody; ksimage keys show prints those of an image",
			name, ErrSignature, w.set.Root.Signed.Version)
	case errors.As(err, &version):
		return fmt.Errorf("%s: %w: %s: bring a newer copy of the repository", name, ErrRollback, version.Msg)
	case errors.As(err, &other):
		return fmt.Errorf("%s: %w: cut off, changed, or of another state of the repository than the file that names it: copy the repository again", name, ErrDamaged)
	}
	return fmt.Errorf("%s: %w: copy the repository again: %v", name, ErrDamaged, err)
}

// expired says by which time.
func (w *walk) expired(name string, expires time.Time) error {
	by := "the clock"
	if !w.time.Equal(w.now) {
		by = fmt.Sprintf("the build time of the image; the clock shows %s", minute(w.now))
	}
	return fmt.Errorf("%s: %w at %s, and it is %s by %s: bring a copy that is signed anew, unless the time is wrong",
		name, ErrExpired, minute(expires), minute(w.time), by)
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// parse reads the file of a role below the root.
func parse(role string, data []byte) (any, error) {
	switch role {
	case metadata.TIMESTAMP:
		return metadata.Timestamp().FromBytes(data)
	case metadata.SNAPSHOT:
		return metadata.Snapshot().FromBytes(data)
	}
	return metadata.Targets().FromBytes(data)
}

// header reads what all roles have. It must have been parsed before.
func header(data []byte) (version int64, expires time.Time) {
	var h struct {
		Signed struct {
			Version int64     `json:"version"`
			Expires time.Time `json:"expires"`
		} `json:"signed"`
	}
	_ = json.Unmarshal(data, &h) // the library has read the same fields
	return h.Signed.Version, h.Signed.Expires
}
