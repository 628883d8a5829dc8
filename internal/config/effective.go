package config

import (
	"encoding/json"
	"errors"
	"fmt"
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
)

// EffectiveDir holds the files of WriteEffective on a node.
const EffectiveDir = "/run/ksinit"

// WriteEffective puts the configuration and its origins into dir as JSON, for
// root only. Secrets are hidden in it, and so is what written files hold.
func WriteEffective(dir string, c Config, o Origins) error {
	return errors.Join(
		writeJSON(filepath.Join(dir, effectiveFile), c.Public()),
		writeJSON(filepath.Join(dir, originsFile), o))
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
