package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/config"
)

// writeRegistries tells containerd of the registries, below root. They are on
// the data partition: what is as it should be is not written again, and what
// an earlier configuration left goes. Files of other makers stay.
func writeRegistries(root string, registries map[string]config.Registry) error {
	var errs []error
	old, err := filepath.Glob(filepath.Join(root, config.RegistryDir, "*", "hosts.toml"))
	errs = append(errs, err)
	for _, file := range old {
		dir := filepath.Dir(file)
		text, err := os.ReadFile(file)
		_, wanted := registries[filepath.Base(dir)]
		if err == nil && !wanted && bytes.HasPrefix(text, []byte(config.RegistryMark)) {
			for _, f := range config.RegistryFiles(map[string]config.Registry{filepath.Base(dir): {CA: "any"}}) {
				if err := os.Remove(filepath.Join(root, f.Path)); !errors.Is(err, os.ErrNotExist) {
					errs = append(errs, err)
				}
			}
			_ = os.Remove(dir) // others' files keep it
		}
	}
	for _, f := range config.RegistryFiles(registries) {
		path := filepath.Join(root, f.Path)
		if text, err := os.ReadFile(path); err == nil && bytes.Equal(text, f.Content) {
			continue
		}
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = atomicfile.Write(path, f.Content, f.Permissions)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
