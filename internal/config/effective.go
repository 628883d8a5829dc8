package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kubesolo.io/os/internal/atomicfile"
)

// The files in which ksinit tells the other programs of the node what it
// decided, in a directory of their own.
const (
	effectiveFile = "config.json"
	originsFile   = "origins.json"
	authFile      = "registry-auth.json"
)

// EffectiveDir holds the files of WriteEffective on a node.
const EffectiveDir = "/run/ksinit"

// WriteEffective puts the configuration and its origins into dir as JSON, for
// root only. Secrets are hidden in it, and so is what written files hold. The one
// secret that the node's agent needs, to fetch updates, gets a file of its own.
func WriteEffective(dir string, c Config, o Origins) error {
	return errors.Join(
		writeJSON(filepath.Join(dir, effectiveFile), c.Public()),
		writeJSON(filepath.Join(dir, originsFile), o),
		writeAuth(filepath.Join(dir, authFile), c.Update.RegistryAuth))
}

func writeAuth(path string, s Secret) error {
	if s != "" {
		return atomicfile.Write(path, []byte(s.Reveal()), 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ReadRegistryAuth reads update.registry-auth of what WriteEffective wrote; ""
// when it was not set.
func ReadRegistryAuth(dir string) (Secret, error) {
	b, err := os.ReadFile(filepath.Join(dir, authFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return Secret(b), err
}

// Public leaves the content of files away: passwords of registries are kept in
// such.
func (c Config) Public() Config {
	c.WriteFiles = slices.Clone(c.WriteFiles)
	for i := range c.WriteFiles {
		c.WriteFiles[i].Content = nil
	}
	return c
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return atomicfile.Write(path, append(b, '\n'), 0o600)
}

// ReadEffective reads what WriteEffective wrote. When nothing was, the error is
// fs.ErrNotExist.
func ReadEffective(dir string) (Config, Origins, error) {
	var c Config
	var o Origins
	err := errors.Join(
		readJSON(filepath.Join(dir, effectiveFile), &c),
		readJSON(filepath.Join(dir, originsFile), &o))
	return c, o, err
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
