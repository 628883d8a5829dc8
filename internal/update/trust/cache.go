package trust

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kubesolo.io/os/internal/atomicfile"
)

// cache is the directory of one repository's trusted metadata: N.root.json of every root
// after the image's, and the newest timestamp.json, snapshot.json and targets.json.
type cache struct{ dir string }

func newCache(dir, repository string) cache {
	if repository == "" {
		repository = "unnamed"
	}
	return cache{filepath.Join(dir, repository)}
}

// read returns a file of at most limit bytes. What it holds is not to be believed.
func (c cache) read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(c.dir, name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: longer than %d bytes", name, limit)
	}
	return data, err
}

// write keeps a file that was verified. What cannot be kept must not be used: after a
// restart an older file would be believed.
func (c cache) write(name string, data []byte) error {
	err := os.MkdirAll(c.dir, 0o700)
	if err == nil {
		err = atomicfile.Write(filepath.Join(c.dir, name), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep trusted metadata: %w: is the data partition full or read-only?", err)
	}
	return nil
}

// highestRoot is the highest version of a root that was ever kept, 0 without any.
func (c cache) highestRoot() int64 {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return 0 // nothing kept yet
	}
	var highest int64
	for _, entry := range entries {
		if number, ok := strings.CutSuffix(entry.Name(), ".root.json"); ok {
			if version, err := strconv.ParseInt(number, 10, 64); err == nil {
				highest = max(highest, version)
			}
		}
	}
	return highest
}
