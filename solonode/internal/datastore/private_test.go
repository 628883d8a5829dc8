package datastore

import (
	"context"
	"os"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestClosedToOthers: in use and in the next life, when SQLite makes the
// companions anew, and for a database that was made open.
func TestClosedToOthers(t *testing.T) {
	cfg := config(t)
	for life := range 3 {
		serve(t, cfg, func(ctx context.Context, client *clientv3.Client) {
			if _, err := client.Get(ctx, "/registry/a"); err != nil {
				t.Fatal(err)
			}
			for _, suffix := range []string{"", "-wal", "-shm"} {
				info, err := os.Stat(cfg.File + suffix)
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("life %d: state.db%s: %v, %v", life, suffix, info, err)
				}
			}
		})
		if life == 1 {
			if err := os.Chmod(cfg.File, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
