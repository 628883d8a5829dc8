package statecopy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Socket is where the running node takes requests, for root only.
const Socket = "/run/kubesolo/state.sock"

// Serve answers requests on a Unix socket until ctx ends, with nil, or a
// restore was prepared, with ErrRestart.
//
//	POST /v1/copy              the Copy it made
//	POST /v1/check             checks the database
//	POST /v1/restore?from=FILE prepares the restore, answers, and ends the node
//
// A refusal has status 500 and an object with the field error.
func (k *Keeper) Serve(ctx context.Context, socket string) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return fmt.Errorf("state socket: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state socket: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("state socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("state socket: %w", err), listener.Close())
	}
	server := &http.Server{Handler: k.handler(), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
		return fmt.Errorf("state socket: %w", err)
	case <-k.stop:
		err = ErrRestart
	case <-ctx.Done():
	}
	// The answer to the request that ends the node is still on its way.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if shutdown := server.Shutdown(limited); shutdown != nil {
		return errors.Join(err, server.Close())
	}
	return err
}

func (k *Keeper) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/copy", func(w http.ResponseWriter, r *http.Request) {
		c, err := k.Copy(r.Context())
		reply(w, c, err)
	})
	mux.HandleFunc("POST /v1/check", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, k.Check(r.Context()))
	})
	mux.HandleFunc("POST /v1/restore", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, k.Restore(r.Context(), r.URL.Query().Get("from")))
	})
	return mux
}

type refusal struct {
	Error string `json:"error"`
}

func reply(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		answer = refusal{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(answer) // the caller is gone
}
