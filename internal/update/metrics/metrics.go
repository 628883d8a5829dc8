// Package metrics serves what is known of the node and its updates to Prometheus:
// http://127.0.0.1:9186/metrics, in the text format 0.0.4.
//
// It owns the names and types of the metrics, their form, and the server. It
// collects nothing: each scrape asks for the status once, so that its values
// belong together. There is no other path, no TLS and no password: the address is
// the node's own, which pods on the host's network and agents there reach, and
// nothing in it is secret. Twelve metrics need no client library.
//
// Tests: real scrapes, whose text is held to the rules of the format and of
// naming, and to the table of the document.
package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kubesolo.io/os/internal/update"
)

// Address is where it is served; internal/audit knows the port.
const Address = "127.0.0.1:9186"

// contentType is that of the text format.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// Limits of the server: a scraper asks once in a while.
const (
	headerTimeout = 5 * time.Second
	writeTimeout  = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 8 << 10
)

// Run serves at address until ctx ends. ready says whether the node is ready now.
// Both functions are called from several goroutines.
func Run(ctx context.Context, address string, status func() update.Status, ready func() bool) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("metrics: %w", err) // names the address and what is wrong with it
	}
	return serve(ctx, l, status, ready)
}

func serve(ctx context.Context, l net.Listener, status func() update.Status, ready func() bool) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(Text(status(), ready())) // has hung up
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// family is one metric with all its series.
type family struct {
	name, kind, help string
	series           []series
}

type series struct {
	labels []string // name, value, name, value
	value  float64
}

// Text gives the metrics of a status. Times that never were are 0, and every
// series but that of a version is always there: what is missing cannot be
// compared.
func Text(s update.Status, ready bool) []byte {
	var phases []series
	for _, p := range update.Phases() {
		phases = append(phases, series{[]string{"phase", string(p)}, truth(p == s.State.Phase)})
	}
	var reasons []series
	for _, c := range update.Causes() {
		reasons = append(reasons, series{[]string{"reason", string(c)}, truth(c == s.State.Cause())})
	}
	version := ""
	if a := s.Available; a != nil {
		version = a.Version
	}
	var out bytes.Buffer
	for _, f := range []family{
		{"kubesolo_os_info", "gauge", "Version of KubeSolo OS that runs, and the slot it was started from.",
			[]series{{[]string{"version", s.Version, "slot", s.Slots.Running}, 1}}},
		{"kubesolo_ready", "gauge", "Whether the node is ready: API, node and CoreDNS.", one(truth(ready))},
		{"kubesolo_update_phase", "gauge", "Phase of the update, 1 for the one it is in.", phases},
		{"kubesolo_update_attempts_total", "counter", "Updates that were begun.", one(float64(s.State.Attempts))},
		{"kubesolo_update_rollbacks_total", "counter", "Updates that were taken back.", one(float64(s.State.RollBacks))},
		{"kubesolo_update_rollback_reason", "gauge", "Why an update was taken back last, 1 for the reason.", reasons},
		{"kubesolo_update_last_success_timestamp_seconds", "gauge", "When an update passed its trial last, 0 for never.", one(stamp(s.State.Passed))},
		{"kubesolo_update_last_check_timestamp_seconds", "gauge", "When a version was looked for last, 0 for never.", one(stamp(s.State.Checked))},
		{"kubesolo_update_available", "gauge", "Whether the last check found a version that can be installed, and which.",
			[]series{{[]string{"version", version}, truth(version != "")}}},
		{"kubesolo_update_download_bytes", "gauge", "How much of the download is there.", one(float64(s.Done))},
		{"kubesolo_update_download_total_bytes", "gauge", "Size of the download, 0 when there is none.", one(float64(s.Total))},
		{"kubesolo_update_refused_versions", "gauge", "Versions that failed their trial and are not installed again.", one(float64(len(s.State.Refused)))},
	} {
		f.write(&out)
	}
	return out.Bytes()
}

func (f family) write(out *bytes.Buffer) {
	fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
	for _, s := range f.series {
		out.WriteString(f.name)
		for i := 0; i < len(s.labels); i += 2 {
			mark := ","
			if i == 0 {
				mark = "{"
			}
			fmt.Fprintf(out, `%s%s="%s"`, mark, s.labels[i], escape(s.labels[i+1]))
		}
		if len(s.labels) > 0 {
			out.WriteByte('}')
		}
		out.WriteString(" " + strconv.FormatFloat(s.value, 'f', -1, 64) + "\n")
	}
}

// escape is what the format wants of the value of a label, which is UTF-8.
func escape(v string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(v, "\ufffd"))
}

func one(v float64) []series { return []series{{value: v}} }

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// stamp is seconds since 1970.
func stamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
