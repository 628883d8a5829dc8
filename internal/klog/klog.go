// Package klog is where the node's log goes before and without any log daemon:
// the kernel's ring buffer for ksinit's own records, and one bounded file a
// service for what services print.
//
// It owns the form of a /dev/kmsg record, the rotation of log files and the
// memory of a service's last lines. It never drops an error of the caller and
// never blocks on a full disk: a line that cannot be written to the file is
// still remembered. Its tests use plain files in place of /dev/kmsg.
package klog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// facilityDaemon is syslog's LOG_DAEMON: records of facility 0 are the
// kernel's own and may not come from user space.
const facilityDaemon = 3 << 3

// maxRecord is what one write to /dev/kmsg may hold after the prefix; longer
// writes fail with EINVAL (kernel/printk: PRINTKRB_RECORD_MAX, 1024).
const maxRecord = 976

// Handler is a slog.Handler that writes one kernel log record a call:
//
//	<30>ksinit: data: mounted step=data device=/dev/vda
type Handler struct {
	mu    *sync.Mutex
	w     io.Writer
	tag   string
	level slog.Leveler
	attrs string // already in text form
	group string // prefix of the keys, with its dot
}

// NewHandler makes a Handler that writes to w, normally /dev/kmsg opened for
// writing, records of at least the given level.
func NewHandler(w io.Writer, tag string, level slog.Leveler) *Handler {
	return &Handler{mu: &sync.Mutex{}, w: w, tag: tag, level: level}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler. A record has one line: what is multi-line
// (a panic's stack) is quoted.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(oneLine(r.Message))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.group, a)
		return true
	})
	text := b.String()
	if len(text) > maxRecord {
		text = text[:maxRecord-3] + "..."
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := fmt.Fprintf(h.w, "<%d>%s: %s\n", facilityDaemon|priority(r.Level), h.tag, text)
	return err
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	for _, a := range attrs {
		appendAttr(&b, h.group, a)
	}
	out := *h
	out.attrs += b.String()
	return &out
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	out := *h
	if name != "" {
		out.group += name + "."
	}
	return &out
}

func appendAttr(b *strings.Builder, group string, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range value.Group() {
			appendAttr(b, group, inner)
		}
		return
	}
	if a.Equal(slog.Attr{}) {
		return
	}
	text := value.String()
	if text == "" || strings.ContainsAny(text, " \"=\n\t") {
		text = strconv.Quote(text)
	}
	fmt.Fprintf(b, " %s%s=%s", group, a.Key, text)
}

// priority maps levels to syslog's: debug 7, info 6, warning 4, error 3.
func priority(l slog.Level) int {
	switch {
	case l < slog.LevelInfo:
		return 7
	case l < slog.LevelWarn:
		return 6
	case l < slog.LevelError:
		return 4
	}
	return 3
}

func oneLine(s string) string {
	if strings.ContainsAny(s, "\n\r\x00") {
		return strings.NewReplacer("\n", " | ", "\r", "", "\x00", "").Replace(strings.TrimSpace(s))
	}
	return s
}
