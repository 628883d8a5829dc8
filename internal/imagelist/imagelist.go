// Package imagelist is images.json: which container images the system root
// carries, and in which archive each is.
//
// It owns the form of that file. It neither makes images (package ociimage) nor
// imports them (package preload), and so both can share it without the one
// linking the other's libraries. The parser is fuzzed.
package imagelist

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
)

// FileName is the list's name; the archives lie beside it.
const FileName = "images.json"

// Entry is one image reference. Several entries may name the same archive.
type Entry struct {
	// Ref is the full reference, registry and tag included.
	Ref string `json:"ref"`
	// File is the base name of the OCI archive (a tar of an OCI image layout,
	// image-spec v1.1), Size its length in bytes.
	File string `json:"file"`
	Size int64  `json:"size"`
	// Digest is that of the image's manifest: "sha256:" and 64 hex digits.
	Digest string `json:"digest"`
}

// Encode gives the file's content for entries, in their order.
func Encode(entries []Entry) ([]byte, error) {
	data, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", FileName, err)
	}
	return append(data, '\n'), nil
}

// Parse reads the file's content. File names with a directory, digests of
// another form, and a reference that is there twice are errors.
func Parse(data []byte) ([]Entry, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var entries []Entry
	if err := dec.Decode(&entries); err != nil {
		return nil, fmt.Errorf("%s: %w", FileName, err)
	}
	sha256 := regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	seen := make(map[string]bool)
	for i, e := range entries {
		switch {
		case e.Ref == "":
			return nil, fmt.Errorf("%s: entry %d has no ref", FileName, i)
		case seen[e.Ref]:
			return nil, fmt.Errorf("%s: %s is there twice", FileName, e.Ref)
		case e.File == "" || e.File != filepath.Base(e.File) || e.File == "." || e.File == "..":
			return nil, fmt.Errorf("%s: %s: %q is not a file name", FileName, e.Ref, e.File)
		case !sha256.MatchString(e.Digest):
			return nil, fmt.Errorf("%s: %s: %q is not a sha256 digest", FileName, e.Ref, e.Digest)
		}
		seen[e.Ref] = true
	}
	return entries, nil
}
