package ctl

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServiceLog(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, logDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"boot-previous.log": "end of the boot before\n", "boot-previous.log.1": "its beginning\n", "a.log": "3\n4\n", "a.log.1": "1\n2\n", "empty.log": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ args, want string }{
		{"a -n 1", "4\n"}, {"a -n 2", "3\n4\n"}, {"-n 3 a", "2\n3\n4\n"}, {"a -n 0", "1\n2\n3\n4\n"}, {"a", "1\n2\n3\n4\n"}, {"empty", ""},
		{"--previous-boot", "its beginning\nend of the boot before\n"}, {"--previous-boot -n 1", "end of the boot before\n"},
	} {
		var out strings.Builder
		p := Program{Stdout: &out, Stderr: io.Discard, Root: root}
		if status := p.Run(append([]string{"logs"}, strings.Fields(test.args)...)); status != exitGood || out.String() != test.want {
			t.Errorf("logs %s: status %d, %q", test.args, status, out.String())
		}
	}
}

// Following goes on in the file that has taken the name, and loses nothing of
// the one that had it.
func TestServiceLogFollows(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, logDir, "a.log")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- Program{Stdout: w, Stderr: io.Discard, Root: root}.Run([]string{"logs", "-f", "a"})
	}()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	expect("first\n")
	write("second\n")
	expect("second\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("last of the old\n")
	if f, err = os.Create(path); err != nil {
		t.Fatal(err)
	}
	write("first of the new\n")
	expect("last of the old\nfirst of the new\n")
	_ = r.Close() // the reader has gone, as with a closed terminal
	write("nobody reads\n")
	if status := <-ended; status != exitUnknown {
		t.Errorf("status %d", status)
	}
}

func TestParseRecord(t *testing.T) {
	for _, test := range []struct {
		in   string
		want record
		ok   bool
	}{
		{"30,512,3210000,-;ksinit: ok step=data\n SUBSYSTEM=x\n", record{30, 3.21, "ksinit: ok step=data"}, true},
		{"6,1,5,-,caller=T1;Linux; version", record{6, 5e-6, "Linux; version"}, true},
		{"6,1;x", record{}, false}, {"x,1,2,-;x", record{}, false}, {"6,1,-2,-;x", record{}, false}, {"", record{}, false},
	} {
		if got, ok := parseRecord(test.in); got != test.want || ok != test.ok {
			t.Errorf("%q: %+v, %v", test.in, got, ok)
		}
	}
	if r, _ := parseRecord("30,512,3210000,-;ksinit: x"); !r.ours() || r.String() != "[    3.210000] ksinit: x\n" {
		t.Errorf("%q", r.String())
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("30,512,3210000,-;ksinit: ok\n A=b\n")
	f.Add(";;;")
	f.Fuzz(func(t *testing.T, s string) {
		if r, ok := parseRecord(s); ok && (strings.Contains(r.text, "\n") || r.priority < 0 || r.time < 0) {
			t.Errorf("%q: %+v", s, r)
		}
	})
}

// Whatever the text, what is known to be secret does not stay in it.
func FuzzHide(f *testing.F) {
	f.Add("password: planted", "planted")
	f.Add("-----BEGIN PRIVATE KEY-----\nx", "xxxx")
	f.Add("token=\"a b\", https://u:p@h/", "token")
	f.Fuzz(func(t *testing.T, text, secret string) {
		if strings.Contains(hidden, secret) || strings.ContainsAny(secret, "()$") {
			t.Skip()
		}
		h := newHider([]string{secret})
		out := string(h.hide([]byte(text)))
		if len(h.known) == 1 && strings.Contains(strings.ReplaceAll(out, hidden, "\x00\x01"), secret) {
			t.Errorf("%q is in %q", secret, out)
		}
	})
}
