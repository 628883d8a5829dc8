package datastore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// closeToOthers gives the database and its two companions the mode 0600: they
// hold every Secret. SQLite makes a database by the umask (0644), and the
// companions, also those of later, with the mode of the database.
func closeToOthers(database string) error {
	for _, file := range []string{database, database + "-wal", database + "-shm"} {
		info, err := os.Stat(file)
		if err == nil && info.Mode().Perm() != 0o600 {
			err = os.Chmod(file, 0o600)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("datastore: %w", err)
		}
	}
	return nil
}
