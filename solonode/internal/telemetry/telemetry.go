// Package telemetry serves metrics, health and profiles of the process over
// HTTP when asked for. Both servers are for the local host unless the operator
// chooses another address.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"
)

// ProfilesAddress is where upstream serves profiles.
const ProfilesAddress = "127.0.0.1:6060"

// Metrics serves /metrics, /healthz, /livez and /readyz. ready reports nil when
// the node answers.
func Metrics(ctx context.Context, address string, ready func(context.Context) error) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", legacyregistry.Handler())
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	check := func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
	mux.HandleFunc("GET /readyz", check)
	mux.HandleFunc("GET /healthz", check)
	return serve(ctx, "metrics server", address, mux)
}

// Profiles serves /debug/pprof.
func Profiles(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	return serve(ctx, "profile server", ProfilesAddress, mux)
}

func serve(ctx context.Context, name, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s on %s: %w", name, address, err)
	}
	return nil
}
