package datastore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"kubesolo.io/os/solonode/internal/recovery"
)

func config(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	return Config{
		File: filepath.Join(dir, "state.db"), Socket: filepath.Join(dir, "run", "kine.sock"),
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
	client := dial(t, cfg)
	use(ctx, client)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}

func dial(t *testing.T, cfg Config) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + cfg.Socket}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
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
	if err := recovery.Check(t.Context(), cfg.File); err != nil {
		t.Errorf("check: %v", err)
	}
	serve(t, cfg, func(ctx context.Context, client *clientv3.Client) {
		got, err := client.Get(ctx, "/registry/a")
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "one" {
			t.Errorf("got %v, error %v", got, err)
		}
	})
}

// Written over while the store runs, the file is found out by the next answer
// for which it is read; the store ends and the next start is told to look.
func TestDamageInUseEndsTheStore(t *testing.T) {
	cfg := config(t)
	opened := make(chan *sql.DB, 1)
	cfg.Opened = func(db *sql.DB) { opened <- db }
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), cfg) }()
	db := <-opened
	// No answer from what a connection remembers, which is all of so small a file,
	// nor from the log, in which pages stay that are merged beside a reader: on a
	// busy machine one of twenty runs had the store take all writes.
	db.SetMaxIdleConns(0)
	for busy := 1; busy != 0; {
		var pages, merged int
		if err := db.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &merged); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.OpenFile(cfg.File, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())-100), 100); err != nil {
		t.Fatal(err)
	}
	client := dial(t, cfg)
	for i := 0; err == nil && i < 1000; i++ {
		_, err = client.Put(t.Context(), fmt.Sprintf("/registry/%d", i), strings.Repeat("x", 1000))
	}
	if err == nil {
		t.Fatal("the store took all writes")
	}
	err = <-ended
	if !recovery.Damaged(err) {
		t.Errorf("ended by %v", err)
	}
	if _, err := os.Stat(cfg.File + ".suspect"); err != nil {
		t.Errorf("no note for the next start: %v", err)
	}
}
