package source

import (
	"fmt"
	"testing"
)

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{
		"bytes 0-0/1", "bytes 5-9/10", "bytes 5-9/*", "bytes */10", "bytes */*", "bytes 9-5/10", "bytes 0-10/10", "bytes -1-2/3",
		"bytes 0-9223372036854775807/*", "bytes 0-9223372036854775808/*", "bytes +1-2/3", "bytes 1-2", "lines 1-2/3", "bytes  1-2/3", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := parseContentRange(text)
		if !ok {
			return
		}
		total := fmt.Sprint(r.total)
		if r.total < 0 {
			total = "*"
		}
		if r.first == -1 && r.last == -1 && r.total >= 0 {
			return // */N
		}
		if r.first < 0 || r.last < r.first || r.total >= 0 && r.last >= r.total {
			t.Errorf("%q gives %+v", text, r)
		}
		// What was read means what was said.
		again, ok := parseContentRange(fmt.Sprintf("bytes %d-%d/%s", r.first, r.last, total))
		if !ok || again != r {
			t.Errorf("%q gives %+v, and written again %+v", text, r, again)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	for text, want := range map[string]contentRange{
		"bytes 5-9/10": {5, 9, 10},
		"bytes 5-9/*":  {5, 9, -1},
		"bytes */10":   {-1, -1, 10},
	} {
		if got, ok := parseContentRange(text); !ok || got != want {
			t.Errorf("%q: %+v %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "bytes", "bytes 5-9", "bytes */*", "bytes 9-5/10", "bytes 5-10/10", "bytes +5-9/10", "bytes 5-/10", "items 5-9/10", "bytes=5-9/10"} {
		if got, ok := parseContentRange(text); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
