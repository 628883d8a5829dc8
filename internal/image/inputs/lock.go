// Package inputs fetches what an image is made from and keeps the list of it.
//
// It owns the cache of downloaded files, the checks of their SHA-256, and the lock file
// inputs.lock.json that names every input with version, origin and hash. Debian packages
// come through apt (which checks the archive's signatures), everything else by HTTP with
// a hash the caller must give. It never changes the host's packages. Tested with local
// servers, made-up packages and the lock's golden file.
package inputs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// Input is one thing the image was made from.
type Input struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // debian-package, file, release, component, go-module, image, tool
	Version string `json:"version,omitempty"`
	Origin  string `json:"origin"`           // path in the archive, URL, file name, module path
	SHA256  string `json:"sha256,omitempty"` // of the bytes that were used
	GoSum   string `json:"goSum,omitempty"`  // of a Go module, as go.sum has it ("h1:...")
	Size    int64  `json:"size,omitempty"`
}

// Lock collects inputs. Its methods may be called from several goroutines.
type Lock struct {
	mu     sync.Mutex
	inputs []Input
}

// Add records in. The same input twice is recorded once.
func (l *Lock) Add(in Input) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.inputs, in) {
		l.inputs = append(l.inputs, in)
	}
}

// List returns the inputs in the order of kind, name, origin, version.
func (l *Lock) List() []Input {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.Clone(l.inputs)
	slices.SortFunc(list, func(a, b Input) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Version, b.Version))
	})
	return list
}

// document is the shape of inputs.lock.json.
type document struct {
	Version int     `json:"version"`
	Epoch   int64   `json:"sourceDateEpoch"`
	Inputs  []Input `json:"inputs"`
}

// Encode writes the lock file: version of the format, the build's time stamp, the inputs.
func (l *Lock) Encode(epoch int64) ([]byte, error) {
	b, err := json.MarshalIndent(document{Version: 1, Epoch: epoch, Inputs: l.List()}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// HashFile returns the SHA-256 (hex) and the size of a file.
func HashFile(name string) (string, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }() // read only
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), n, nil
}
