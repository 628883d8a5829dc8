// Package stamp makes build steps incremental: a step whose key (a hash of everything it
// depends on) is unchanged and whose outputs are still the ones it wrote is not run again.
//
// It owns one small file per step. It compares outputs by size and modification time, so
// an output that was replaced or edited by hand is built again. Tested with real files.
package stamp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Store keeps stamps in a directory.
type Store struct{ Dir string }

type record struct {
	Key     string   `json:"key"`
	Outputs []output `json:"outputs"`
}

type output struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	Time int64  `json:"time"` // modification time, ns
}

func (s Store) file(step string) string {
	return filepath.Join(s.Dir, strings.ReplaceAll(step, "/", "-")+".json")
}

// Fresh says whether step was completed with this key and its outputs are untouched.
func (s Store) Fresh(step, key string) bool {
	b, err := os.ReadFile(s.file(step))
	if err != nil {
		return false
	}
	var r record
	if json.Unmarshal(b, &r) != nil || r.Key != key || len(r.Outputs) == 0 {
		return false
	}
	for _, o := range r.Outputs {
		fi, err := os.Stat(o.Path)
		if err != nil || fi.Size() != o.Size || fi.ModTime().UnixNano() != o.Time {
			return false
		}
	}
	return true
}

// Done records that step was completed with this key and wrote outputs.
func (s Store) Done(step, key string, outputs ...string) error {
	r := record{Key: key}
	for _, p := range outputs {
		fi, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("step %s: output: %w", step, err)
		}
		r.Outputs = append(r.Outputs, output{Path: p, Size: fi.Size(), Time: fi.ModTime().UnixNano()})
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.file(step), b, 0o644)
}

// Key hashes its parts; the order counts.
func Key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// KeyOfFiles hashes names and contents of the files and of everything below the
// directories, without what skip refuses (nil: nothing).
func KeyOfFiles(skip func(name string, d fs.DirEntry) bool, paths ...string) (string, error) {
	h := sha256.New()
	for _, root := range paths {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if skip != nil && name != root && skip(name, d) {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			if !d.Type().IsRegular() {
				return nil
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }() // read only
			fmt.Fprintf(h, "%q %o %d\n", rel, fi.Mode().Perm()&0o111, fi.Size())
			_, err = io.Copy(h, f)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
