package imagelist

import (
	"slices"
	"strings"
	"testing"
)

var digest = "sha256:" + strings.Repeat("0a", 32)

func TestRoundTrip(t *testing.T) {
	want := []Entry{
		{Ref: "example.org/a:1", File: "a.tar", Size: 10, Digest: digest},
		{Ref: "example.org/b:1", File: "a.tar", Size: 10, Digest: digest},
	}
	data, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseRejects(t *testing.T) {
	for name, in := range map[string]string{
		"empty":      ``,
		"object":     `{}`,
		"no ref":     `[{"file":"a.tar","digest":"` + digest + `"}]`,
		"directory":  `[{"ref":"a","file":"../a.tar","digest":"` + digest + `"}]`,
		"parent":     `[{"ref":"a","file":"..","digest":"` + digest + `"}]`,
		"digest":     `[{"ref":"a","file":"a.tar","digest":"sha256:00"}]`,
		"same twice": `[{"ref":"a","file":"a.tar","digest":"` + digest + `"},{"ref":"a","file":"b.tar","digest":"` + digest + `"}]`,
	} {
		if got, err := Parse([]byte(in)); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"ref":"a","file":"a.tar","size":1,"digest":"` + digest + `"}]`))
	f.Add([]byte(`[null]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		entries, err := Parse(in)
		if err != nil {
			return
		}
		data, err := Encode(entries)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(data)
		if err != nil || !slices.Equal(again, entries) {
			t.Fatalf("%+v became %+v, %v", entries, again, err)
		}
	})
}
