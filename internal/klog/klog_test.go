package klog

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	for _, tc := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"levels: debug is off", func(l *slog.Logger) { l.Debug("x") }, ""},
		{"info", func(l *slog.Logger) { l.Info("data mounted", "step", "data", "device", "/dev/vda") },
			"<30>ksinit: data mounted step=data device=/dev/vda\n"},
		{"warning", func(l *slog.Logger) { l.Warn("x") }, "<28>ksinit: x\n"},
		{"error", func(l *slog.Logger) { l.Error("x", "err", errors.New("no such file: \"a\"")) },
			`<27>ksinit: x err="no such file: \"a\""` + "\n"},
		{"one line", func(l *slog.Logger) { l.Info("panic\nstack\r\n") }, "<30>ksinit: panic | stack\n"},
		{"attributes and groups", func(l *slog.Logger) {
			l.With("service", "kubesolo").WithGroup("g").With("a", 1).Info("x", slog.Group("h", "b", ""), slog.Attr{})
		}, `<30>ksinit: x service=kubesolo g.a=1 g.h.b=""` + "\n"},
	} {
		var b bytes.Buffer
		tc.log(slog.New(NewHandler(&b, "ksinit", slog.LevelInfo)))
		if got := b.String(); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

type writes struct{ n, longest int }

func (w *writes) Write(b []byte) (int, error) {
	w.n++
	w.longest = max(w.longest, len(b))
	return len(b), nil
}

func TestHandlerOneBoundedWriteARecord(t *testing.T) {
	var w writes
	slog.New(NewHandler(&w, "ksinit", slog.LevelInfo)).Info(strings.Repeat("x", 5000), "k", strings.Repeat("y", 5000))
	if w.n != 1 || w.longest > 1024 {
		t.Errorf("%d writes of up to %d bytes, want 1 of at most 1024", w.n, w.longest)
	}
}

func TestTail(t *testing.T) {
	tail := NewTail(2)
	for _, l := range []string{"a", "b", "c"} {
		tail.Add(l)
	}
	if got := tail.Lines(); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("got %q", got)
	}
}

type fullDisk struct{ left int }

func (f *fullDisk) Write(b []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(b), nil
}

func TestCopy(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"lines", "a\nb\r\n", []string{"a", "b"}},
		{"no end of line", "a\nlast", []string{"a", "last"}},
		{"long", strings.Repeat("x", maxLine+3) + "\n", []string{strings.Repeat("x", maxLine), "xxx"}},
	} {
		var out bytes.Buffer
		tail := NewTail(10)
		if err := Copy(&out, tail, strings.NewReader(tc.in)); err != nil {
			t.Fatal(err)
		}
		if out.String() != tc.in || !slices.Equal(tail.Lines(), tc.want) {
			t.Errorf("%s: %d bytes copied of %d; lines %.40q", tc.name, out.Len(), len(tc.in), tail.Lines())
		}
	}
	r, w := io.Pipe()
	go func() { _, _ = io.WriteString(w, "a\nb\nc\n"); _ = w.Close() }()
	tail := NewTail(10)
	if err := Copy(&fullDisk{left: 1}, tail, r); err == nil || len(tail.Lines()) != 3 {
		t.Errorf("full disk: %v, remembered %q", err, tail.Lines())
	}
}

func TestFileRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubesolo.log")
	for range 2 { // the second round appends to what is there
		l, err := OpenFile(path, 100)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if _, err := l.Write([]byte(strings.Repeat("x", 29) + "\n")); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]int64{path: 90, path + ".1": 90} {
			info, err := os.Stat(name)
			if err != nil || info.Size() > 100 || (name != path && info.Size() != want) {
				t.Fatalf("%s: %v, %v", name, info.Size(), err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
	}
}
