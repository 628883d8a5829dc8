package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/tufrepo"
)

// trustedRoot is the root.json from which on the nodes believe updates: the newest of the
// key directory. Without one it is that of the test keys, which are the same everywhere.
func (b *Builder) trustedRoot() ([]byte, error) {
	dir := b.c.Keys
	if dir == "" {
		dir = b.path("keys")
		if err := tufrepo.InitTest(dir); err != nil {
			return nil, fmt.Errorf("test keys: %w", err)
		}
	}
	keys, err := tufrepo.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("KEYS: %w", err)
	}
	root, err := keys.Root()
	if err != nil {
		return nil, fmt.Errorf("KEYS=%s: %w", dir, err)
	}
	switch {
	case b.c.Release && root.TestKeys:
		return nil, fmt.Errorf("RELEASE=1 KEYS=%s: %w: these are test keys, which everybody has: make keys with make keys KEYS=DIR", dir, ErrConfig)
	case b.c.Release && root.Expires.Before(time.Now()):
		return nil, fmt.Errorf("RELEASE=1 KEYS=%s: %w: root %d expired at %s: ksimage keys rotate signs the next one",
			dir, ErrConfig, root.Version, root.Expires.Format(time.RFC3339))
	}
	if root.TestKeys {
		b.say("keys       test keys (%s): everybody can sign updates of this image", dir)
	} else {
		b.say("keys       %s, root %d, until %s", dir, root.Version, root.Expires.Format(time.DateOnly))
	}
	text := keys.RootFile()
	sum := sha256.Sum256(text)
	b.lock.Add(inputs.Input{Name: "root.json of repository " + root.Repository, Kind: "file", Version: strconv.FormatInt(root.Version, 10),
		Origin: "root.json", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(text))})
	return text, nil
}
