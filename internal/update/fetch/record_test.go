package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Whatever is in the record, the image comes whole.
func TestGarbageRecord(t *testing.T) {
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	sum := func(data []byte) string { s := sha256.Sum256(data); return hex.EncodeToString(s[:]) }
	good := record{Target: target.File(), Length: target.Length, Done: 50_000, Head: data[:headSize], Sum: sum(data[:50_000])}
	with := func(change func(r *record)) string {
		r := good
		change(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, test := range []struct {
		name, text string
		from       int64
		says       string
	}{
		{"good", with(func(*record) {}), 50_000, ""},
		{"empty", "", 0, "not a record"},
		{"cut", with(func(*record) {})[:200], 0, "not a record"},
		{"zeros", string(make([]byte, 300)), 0, "not a record"},
		{"of another kind", `["a"]`, 0, "not a record"},
		{"of another target", with(func(r *record) { r.Target = "x" }), 0, ""},
		{"of another length", with(func(r *record) { r.Length++ }), 0, ""},
		{"of nothing", with(func(r *record) { r.Done, r.Head, r.Sum = 0, nil, sum(nil) }), 0, ""},
		{"of more than there is", with(func(r *record) { r.Done = r.Length + 1 }), 0, "do not fit"},
		{"of less than nothing", with(func(r *record) { r.Done = -1 }), 0, "do not fit"},
		{"of a short head", with(func(r *record) { r.Head = r.Head[:1] }), 0, "do not fit"},
		{"of another head", with(func(r *record) { r.Head = make([]byte, headSize) }), 0, "does not have what was written"},
		{"of more than was written", with(func(r *record) { r.Done, r.Sum = 60_000, sum(data[:60_000]) }), 0, "does not have what was written"},
		{"of a wrong sum", with(func(r *record) { r.Sum = sum(nil) }), 0, "does not have what was written"},
		{"of no sum", with(func(r *record) { r.Sum = "" }), 0, "do not fit"},
		{"huge", with(func(r *record) { r.Head = make([]byte, 1<<20) }), 0, "not a record"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said []string
			from := &asked{Source: medium}
			o := Options{Source: from, Target: target, Device: slotFile(t, 200_000), State: filepath.Join(t.TempDir(), "state"),
				Failed: func(err error, wait time.Duration) { said = append(said, err.Error()) }}
			slot := get(t, o.Device)
			copy(slot, make([]byte, headSize))
			copy(slot[headSize:50_000], data[headSize:])
			put(t, o.Device, slot)
			put(t, o.State, []byte(test.text))
			if err := Fetch(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			wantSlot(t, get(t, o.Device), slot, data)
			if fmt.Sprint(from.offsets) != fmt.Sprint([]int64{test.from}) {
				t.Errorf("asked for %v", from.offsets)
			}
			if all := strings.Join(said, "; "); (all == "") != (test.says == "") || !strings.Contains(all, test.says) {
				t.Errorf("said %q, want %q", all, test.says)
			}
		})
	}
}

// Without a place for its record a fetch cannot be continued, but ends well.
func TestNoRoomForTheRecord(t *testing.T) {
	data := randomBytes(1, 100_000)
	target, medium := image(t, data)
	for name, state := range map[string]string{"no directory": filepath.Join(t.TempDir(), "not", "there"), "a directory in its place": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			told := 0
			o := Options{Source: medium, Target: target, Device: slotFile(t, 200_000), State: state, Failed: func(_ error, wait time.Duration) {
				if told++; wait != 0 {
					t.Errorf("it waits for %v", wait)
				}
			}}
			before := get(t, o.Device)
			if err := quick(t, o).run(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantSlot(t, get(t, o.Device), before, data)
			if told == 0 {
				t.Error("nobody was told")
			}
		})
	}
}

func FuzzParseRecord(f *testing.F) {
	text, err := json.Marshal(record{Target: "x", Length: 3, Done: 2, Head: []byte("ab"), Sum: strings.Repeat("00", 32)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"length":9223372036854775807,"done":9223372036854775807}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecord(text)
		if err != nil {
			return
		}
		if r.Done < 0 || r.Done > r.Length || int64(len(r.Head)) > r.Done || len(r.Head) > headSize || len(r.Sum) != 64 {
			t.Errorf("%+v", r)
		}
		name := filepath.Join(t.TempDir(), "state")
		if err := r.write(name); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRecord(again); err != nil {
			t.Errorf("%s cannot be read again: %v", again, err)
		}
	})
}
