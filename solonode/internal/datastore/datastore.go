package datastore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"kubesolo.io/os/solonode/internal/recovery"
)

// Config says where the files are.
type Config struct {
	File   string // state.db
	Socket string // absolute path, at most 107 bytes (sockaddr_un)

	// Opened, if set, gets the connections once the database is open. They are
	// closed when Run returns.
	Opened func(db *sql.DB)
}

const (
	// emulatedVersion makes the API server use the features kine has:
	// progress notifications need 3.5.13 or later.
	emulatedVersion = "3.6.4"
	parameters      = "?_journal=WAL&_busy_timeout=30000&_txlock=immediate&_synchronous=NORMAL" +
		"&_pragma=cache_size(-2048)&_pragma=journal_size_limit(4194304)"
	maxRequestBytes = 2 << 20 // etcd's limit of 1.5 MiB and room for the frame
	gracePeriod     = 2 * time.Second
)

// Run serves until ctx ends, then waits for the database to be closed, which
// checkpoints the log into the file.
func Run(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(filepath.Dir(cfg.File), 0o700); err != nil {
		return fmt.Errorf("datastore: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Socket), 0o700); err != nil {
		return fmt.Errorf("datastore: %w", err)
	}
	// The backend outlives ctx until the last request has been answered.
	backendCtx, stopBackend := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackend()
	var backendDone sync.WaitGroup
	plain, dialect, err := sqlite.NewVariant(backendCtx, &backendDone, "sqlite3", &drivers.Config{
		DataSourceName:       cfg.File + parameters,
		ConnectionPoolConfig: generic.ConnectionPoolConfig{MaxIdle: 2, MaxOpen: 8, MaxIdleTime: 2 * time.Minute},
		PollInterval:         time.Second,
		PollBatchSize:        500,
		CompactInterval:      5 * time.Minute,
		CompactTimeout:       5 * time.Second,
		CompactMinRetain:     1000,
		CompactBatchSize:     1000,
	})
	if err != nil {
		return cfg.damaged(err)
	}
	failed := make(chan error, 1)
	backend := &durable{
		Backend: plain, log: &groupSync{sync: func() error { return syncLog(cfg.File + "-wal") }},
		fail: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	}
	if err := backend.Start(backendCtx); err != nil {
		return cfg.damaged(err)
	}
	// The files' names, too, must be on the medium before the first answer.
	if err := recovery.SyncDir(filepath.Dir(cfg.File)); err != nil {
		return fmt.Errorf("datastore %s: %w", cfg.File, err)
	}
	if cfg.Opened != nil {
		cfg.Opened(dialect.DB)
	}
	if err := closeToOthers(cfg.File); err != nil {
		return err
	}
	listener, err := listen(ctx, cfg.Socket)
	if err != nil {
		return fmt.Errorf("datastore: %w", err)
	}
	grpcServer := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxSendMsgSize(math.MaxInt32),
		// One local client: large windows only cost memory.
		grpc.ReadBufferSize(16<<10), grpc.WriteBufferSize(16<<10),
	)
	server.New(backend, "unix", 5*time.Second, emulatedVersion).Register(grpcServer)

	served := make(chan error, 1)
	go func() { served <- grpcServer.Serve(listener) }()
	select {
	case err = <-served:
		err = fmt.Errorf("datastore: %w", err)
	case err = <-failed:
		err = cfg.damaged(err)
		grpcServer.Stop()
	case <-ctx.Done():
		force := time.AfterFunc(gracePeriod, grpcServer.Stop)
		grpcServer.GracefulStop()
		force.Stop()
	}
	stopBackend()
	backendDone.Wait()
	return err
}

// Ready dials the socket.
func (cfg Config) Ready(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", cfg.Socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// listen binds the socket, replacing one that a killed process left.
func listen(ctx context.Context, socket string) (net.Listener, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// damaged notes a damage of the file for the next start.
func (cfg Config) damaged(err error) error {
	err = fmt.Errorf("datastore %s: %w", cfg.File, err)
	if !recovery.Damaged(err) {
		return err
	}
	return errors.Join(err, recovery.Suspect(cfg.File, err))
}
