// Package atomicfile replaces files so that a reader, or a machine that loses
// power, sees either the whole old content or the whole new content.
//
// It owns the order of the four calls that make this true on ext4 and tmpfs
// (write and fsync a temporary file, rename it, fsync the directory). It never
// follows a temporary file that somebody else made, and is no help on vfat,
// whose rename is not atomic. Its tests run on a plain directory.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write puts data at path with the given permission bits (umask does not
// apply). The directory must exist. On any error path is what it was before
// and no temporary file is left behind.
//
// The file is fsynced before the rename, because ext4 with delayed allocation
// may otherwise leave an empty file after a power cut, and the directory after
// it, because the rename itself is only durable then.
func Write(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fill(tmp, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(tmp.Name())))
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(tmp.Name())))
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func fill(f *os.File, data []byte, mode fs.FileMode) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
