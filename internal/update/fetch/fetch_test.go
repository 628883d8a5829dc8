package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"kubesolo.io/os/internal/update/source"
)

func TestFetch(t *testing.T) {
	for _, size := range []int{1, sectorSize - 1, sectorSize, sectorSize + 1, headSize - 1, headSize, headSize + 1, bufferSize, bufferSize + 1, 3*bufferSize + 7, checkpoint, checkpoint + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			data := randomBytes(1, size)
			target, medium := image(t, data)
			from := &asked{Source: medium}
			var last int64
			o := Options{Source: from, Target: target, Device: slotFile(t, size+1000), State: filepath.Join(t.TempDir(), "state"),
				Progress: func(done, total int64) {
					if done < last || done > total || total != int64(size) {
						t.Errorf("progress %d of %d after %d", done, total, last)
					}
					last = done
				},
				Failed: func(err error, _ time.Duration) { t.Errorf("failed: %v", err) },
			}
			before := get(t, o.Device)
			if err := Fetch(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			wantSlot(t, get(t, o.Device), before, data)
			if last != int64(size) || len(from.offsets) != 1 {
				t.Errorf("progress ended at %d; asked for %v", last, from.offsets)
			}
			// Again, it is only read: neither the source is asked nor a byte written.
			last = 0
			if err := os.Chtimes(o.Device, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := Fetch(t.Context(), o); err != nil || len(from.offsets) != 1 {
				t.Errorf("again: %v; asked for %v", err, from.offsets)
			}
			if info, err := os.Stat(o.Device); err != nil || info.ModTime().Unix() != 1 {
				t.Errorf("the slot was written again: %v, %v", info.ModTime(), err)
			}
		})
	}
}

func TestFetchRefuses(t *testing.T) {
	data := randomBytes(1, 10_000)
	target, medium := image(t, data)
	longer, shorter, other := target, target, target
	longer.Length, shorter.Length, other.Name = target.Length+1, target.Length-1, "kubesolo-os-0.3.0-amd64.slot"
	empty := Target{Name: "empty", SHA256: sha256.Sum256(nil)}
	wrong, _ := image(t, randomBytes(2, 10_000))
	put(t, filepath.Join(medium.Medium, "targets", wrong.File()), data)
	slot := slotFile(t, 20_000)
	before := get(t, slot)
	for _, test := range []struct {
		name   string
		target Target
		device string
		size   int64
		kind   error
		text   string
	}{
		{"not there", other, slot, 0, fs.ErrNotExist, "update kubesolo-os-0.3.0-amd64.slot: "},
		{"longer than promised", shorter, slot, 0, source.ErrLength, "has 10000 bytes, not 9999"},
		{"shorter than promised", longer, slot, 0, source.ErrLength, "has 10000 bytes, not 10001"},
		{"too big", target, slotFile(t, 9_999), 0, ErrSlot, "it has 10000 bytes and"},
		{"too big for the part", target, slot, 9_999, ErrSlot, "only 9999"},
		{"empty", empty, slot, 0, ErrContent, "0 bytes"},
		{"no slot", target, slot + "-not", 0, ErrSlot, "(it is not there)"},
		{"a directory", target, filepath.Dir(slot), 0, ErrSlot, "is no partition (d"},
		{"no block device", target, "/dev/null", 0, ErrSlot, "is no partition (Dc"},
		{"other content", wrong, slotFile(t, 20_000), 0, ErrContent, "gave SHA-256"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := Options{Source: medium, Target: test.target, Device: test.device, Size: test.size, State: filepath.Join(t.TempDir(), "state")}
			wantError(t, Fetch(t.Context(), o), test.kind, test.text)
			if _, err := os.Stat(o.State); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a record was left: %v", err)
			}
			if test.name == "other content" && !bytes.Equal(get(t, test.device)[:headSize], make([]byte, headSize)) {
				t.Error("a slot of the wrong content has a beginning")
			}
		})
	}
	if !bytes.Equal(get(t, slot), before) {
		t.Error("the old slot was changed")
	}
}

func TestRunningSlotIsNeverWritten(t *testing.T) {
	target, medium := image(t, []byte("image"))
	slot := slotFile(t, 10_000)
	before := get(t, slot)
	link, hard := filepath.Join(t.TempDir(), "symbolic"), filepath.Join(filepath.Dir(slot), "hard")
	if err := errors.Join(os.Symlink(slot, link), os.Link(slot, hard)); err != nil {
		t.Fatal(err)
	}
	o := Options{Source: medium, Target: target, Device: slot, State: filepath.Join(t.TempDir(), "state")}
	for _, o.Running = range []string{slot, link, hard} {
		wantError(t, Fetch(t.Context(), o), ErrSlot, "is the slot that runs")
	}
	// Who cannot say which one runs gets nothing written.
	o.Running = slot + "-not"
	wantError(t, Fetch(t.Context(), o), ErrSlot, "running slot")
	if !bytes.Equal(get(t, slot), before) {
		t.Error("the slot was changed")
	}
}

// quick is a fetch of small steps and short waits.
func quick(t *testing.T, o Options) *download {
	t.Helper()
	part, _, err := openPartition(o.Device, o.Running)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := part.Close(); err != nil {
			t.Error(err)
		}
	})
	return &download{Options: o, part: part, buffer: make([]byte, 4096), every: 16 << 10, first: time.Millisecond}
}

// A real server whose connections break, again and again.
func TestDisconnects(t *testing.T) {
	data := randomBytes(1, 300_000)
	target, _ := image(t, data)
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprintf("ranges %v", ranges), func(t *testing.T) {
			requests, sent := 0, 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests++
				if requests%4 == 3 {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				if !ranges {
					r.Header.Del("Range")
				}
				c := &counted{ResponseWriter: w, left: len(data)}
				if ranges && requests < 20 || requests < 8 {
					c.left = 30_000
				}
				http.ServeContent(c, r, "", time.Time{}, bytes.NewReader(data))
				sent += c.sent
				if c.left == 0 {
					panic(http.ErrAbortHandler)
				}
			}))
			defer server.Close()
			from, err := source.NewHTTP(server.URL, source.HTTPOptions{})
			if err != nil {
				t.Fatal(err)
			}
			failures := 0
			o := Options{Source: from, Target: target, Device: slotFile(t, 400_000), State: filepath.Join(t.TempDir(), "state"),
				Failed: func(err error, wait time.Duration) {
					failures++
					if wait <= 0 || wait > lastWait {
						t.Errorf("wait %v after %v", wait, err)
					}
				}}
			before := get(t, o.Device)
			if err := quick(t, o).run(t.Context()); err != nil {
				t.Fatal(err)
			}
			server.Close() // and with it the handlers that count
			wantSlot(t, get(t, o.Device), before, data)
			if failures == 0 || failures != requests-1 {
				t.Errorf("%d failures of %d requests", failures, requests)
			}
			// What was dropped with a connection is little more than what the
			// server had sent ahead.
			if ranges && sent > len(data)*3/2 {
				t.Errorf("%d bytes were sent for %d", sent, len(data))
			}
		})
	}
}

// counted writes only so many bytes.
type counted struct {
	http.ResponseWriter
	left, sent int
}

func (c *counted) Write(p []byte) (int, error) {
	if len(p) > c.left {
		p = p[:c.left]
	}
	n, err := c.ResponseWriter.Write(p)
	c.left -= n
	c.sent += n
	if err == nil && c.left == 0 {
		c.ResponseWriter.(http.Flusher).Flush()
		err = io.ErrShortWrite
	}
	return n, err
}

// A server that cannot resume is asked for all of it again.
func TestNoResume(t *testing.T) {
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	from := &asked{Source: medium}
	from.before = func(try int) error {
		if try == 2 {
			return fmt.Errorf("200: %w", source.ErrNoResume)
		}
		return nil
	}
	from.body = func(body io.ReadCloser) io.ReadCloser {
		if len(from.offsets) == 1 {
			return &cutAfter{body, 50_000, io.ErrUnexpectedEOF}
		}
		return body
	}
	o := Options{Source: from, Target: target, Device: slotFile(t, 200_000), State: filepath.Join(t.TempDir(), "state")}
	before := get(t, o.Device)
	if err := quick(t, o).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSlot(t, get(t, o.Device), before, data)
	if fmt.Sprint(from.offsets) != "[0 50000 0]" {
		t.Errorf("asked for %v", from.offsets)
	}
}

func TestCancelledAndContinued(t *testing.T) {
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	from := &asked{Source: medium}
	stop := errors.New("the maintenance window is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	o := Options{Source: from, Target: target, Device: slotFile(t, 200_000), State: filepath.Join(t.TempDir(), "state"),
		Progress: func(done, _ int64) {
			if done > 40_000 {
				cancel(stop)
			}
		}}
	before := get(t, o.Device)
	wantError(t, quick(t, o).run(ctx), stop, "")
	if !bytes.Equal(get(t, o.Device)[:headSize], make([]byte, headSize)) {
		t.Error("half a slot has a beginning")
	}
	// By the real steps this time; nothing of what came is fetched again.
	if err := Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantSlot(t, get(t, o.Device), before, data)
	if fmt.Sprint(from.offsets) != "[0 40960]" {
		t.Errorf("asked for %v", from.offsets)
	}
}

func TestWaits(t *testing.T) {
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	slot := slotFile(t, 200_000)
	state := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		from := &asked{Source: medium}
		from.before = func(try int) error {
			if try != 15 {
				return source.ErrStalled // a week without the network
			}
			return nil
		}
		from.body = func(body io.ReadCloser) io.ReadCloser { return &cutAfter{body, 50_000, io.ErrUnexpectedEOF} }
		ctx, cancel := context.WithCancel(t.Context())
		var waits []time.Duration
		o := Options{Source: from, Target: target, Device: slot, State: state, Failed: func(_ error, wait time.Duration) {
			if waits = append(waits, wait); len(waits) == 17 {
				cancel()
			}
		}}
		begin := time.Now()
		wantError(t, Fetch(ctx, o), context.Canceled, "")
		most := firstWait
		var sum time.Duration
		for i, wait := range waits {
			if i == 14 {
				most = firstWait // something came
			}
			if wait < most/2 || wait >= most {
				t.Errorf("wait %d is %v, not from %v to %v", i, wait, most/2, most)
			}
			most = min(2*most, lastWait)
			sum += wait
		}
		if took := time.Since(begin); took != sum-waits[16] || len(waits) != 17 {
			t.Errorf("%d waits of %v took %v", len(waits), sum, took)
		}
	})
}

// The file changes while it is fetched. Nothing on the way can tell.
func TestSourceChanges(t *testing.T) {
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	name := filepath.Join(medium.Medium, "targets", target.File())
	from := &asked{Source: medium, before: func(try int) error {
		if try == 2 {
			put(t, name, randomBytes(2, 100_000))
		}
		return nil
	}}
	from.body = func(body io.ReadCloser) io.ReadCloser {
		if len(from.offsets) == 1 {
			return &cutAfter{body, 50_000, io.ErrUnexpectedEOF}
		}
		return body
	}
	o := Options{Source: from, Target: target, Device: slotFile(t, 200_000), State: filepath.Join(t.TempDir(), "state")}
	before := get(t, o.Device)
	wantError(t, quick(t, o).run(t.Context()), ErrContent, "gave SHA-256")
	if !bytes.Equal(get(t, o.Device)[:headSize], make([]byte, headSize)) {
		t.Error("a slot of the wrong content has a beginning")
	}
	// Put right, it is fetched from its beginning.
	put(t, name, data)
	if err := Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantSlot(t, get(t, o.Device), before, data)
	if fmt.Sprint(from.offsets) != "[0 50000 0]" {
		t.Errorf("asked for %v", from.offsets)
	}
}

// A body that goes on after its end is no good server's, though all came.
func TestLongerBody(t *testing.T) {
	data := randomBytes(1, 100_000)
	target, _ := image(t, data)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(data, 0)) }))
	defer server.Close()
	from, err := source.NewHTTP(server.URL, source.HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Source: from, Target: target, Device: slotFile(t, 200_000), State: filepath.Join(t.TempDir(), "state")}
	for range 2 {
		wantError(t, Fetch(t.Context(), o), source.ErrLength, "goes on after its end")
		if !bytes.Equal(get(t, o.Device)[:headSize], make([]byte, headSize)) {
			t.Error("the slot has a beginning")
		}
	}
}

func TestMediumPulledOutEndsIt(t *testing.T) {
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	from := &asked{Source: medium, body: func(body io.ReadCloser) io.ReadCloser {
		return &cutAfter{body, 50_000, fmt.Errorf("read: input/output error: %w", source.ErrMedium)}
	}}
	o := Options{Source: from, Target: target, Device: slotFile(t, 200_000), State: filepath.Join(t.TempDir(), "state"),
		Failed: func(err error, _ time.Duration) { t.Errorf("it would be tried again: %v", err) }}
	wantError(t, Fetch(t.Context(), o), source.ErrMedium, "taken out")
	from.body = nil // put in again
	if err := Fetch(t.Context(), o); err != nil || fmt.Sprint(from.offsets) != "[0 50000]" {
		t.Errorf("%v; asked for %v", err, from.offsets)
	}
}
