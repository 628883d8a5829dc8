package datastore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func config(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	return Config{
		File: filepath.Join(dir, "state.db"), Socket: filepath.Join(dir, "run", "kine.sock"),
		Log: func(line string) { t.Log(line) },
	}
}

// serve runs the store, calls use with a client, and stops it.
func serve(t *testing.T, cfg Config, use func(ctx context.Context, client *clientv3.Client)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	for cfg.Ready(ctx) != nil {
		select {
		case err := <-ended:
			t.Fatalf("ended early: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + cfg.Socket}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	use(ctx, client)
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestKeepsDataAndMergesTheLog(t *testing.T) {
	cfg := config(t)
	serve(t, cfg, func(ctx context.Context, client *clientv3.Client) {
		info, err := os.Stat(cfg.Socket)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("socket %v, error %v", info, err)
		}
		_, err = client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("/registry/a"), "=", 0)).
			Then(clientv3.OpPut("/registry/a", "one")).Commit()
		if err != nil {
			t.Fatal(err)
		}
	})
	if _, err := os.Stat(cfg.File + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("write-ahead log after the stop: %v", err)
	}
	if err := Check(t.Context(), cfg); err != nil {
		t.Errorf("check: %v", err)
	}
	serve(t, cfg, func(ctx context.Context, client *clientv3.Client) {
		got, err := client.Get(ctx, "/registry/a")
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "one" {
			t.Errorf("got %v, error %v", got, err)
		}
	})
}

func TestCheckFindsDamage(t *testing.T) {
	cfg := config(t)
	if err := Check(t.Context(), cfg); err != nil {
		t.Errorf("no database yet: %v", err)
	}
	serve(t, cfg, func(ctx context.Context, client *clientv3.Client) {})
	data, err := os.ReadFile(cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(data); i++ {
		data[i] = 0xa5
	}
	if err := os.WriteFile(cfg.File, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), cfg); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged file: %v", err)
	}
}

// The repair may only touch the log: here the file itself is sound and the log
// is garbage that SQLite ignores or reports.
func TestRepairKeepsTheFile(t *testing.T) {
	cfg := config(t)
	serve(t, cfg, func(ctx context.Context, client *clientv3.Client) {})
	sound, err := os.ReadFile(cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte{}, sound...)
	for i := 100; i < len(damaged); i++ {
		damaged[i] = 0xa5
	}
	for file, data := range map[string][]byte{cfg.File: damaged, cfg.File + "-wal": []byte("not a log")} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Repair = true
	if err := Check(t.Context(), cfg); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged file cannot be repaired: %v", err)
	}
	if _, err := os.Stat(cfg.File); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
	if moved, err := os.ReadFile(cfg.File + "-wal.broken"); err != nil || string(moved) != "not a log" {
		t.Errorf("the log was not kept aside: %q, %v", moved, err)
	}
}
