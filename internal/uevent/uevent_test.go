package uevent

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	e, err := Parse([]byte("add@/devices/pci0/usb1\x00ACTION=add\x00DEVPATH=/devices/pci0/usb1\x00MODALIAS=usb:v1D6Bp0002\x00ODD\x00"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Action != "add" || e.Path != "/devices/pci0/usb1" || e.Env["MODALIAS"] != "usb:v1D6Bp0002" || len(e.Env) != 3 {
		t.Errorf("got %+v", e)
	}
	for _, bad := range []string{"", "libudev\x00\xfe\xed", "@/x", "add@x"} {
		if e, err := Parse([]byte(bad)); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", bad, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/a\x00K=v\x00"))
	f.Add([]byte("libudev\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err == nil && (e.Action == "" || e.Path[0] != '/') {
			t.Errorf("accepted %q as %+v", b, e)
		}
	})
}

// The kernel repeats an event when a word is written to a device's uevent file.
func TestListen(t *testing.T) {
	const file = "/sys/devices/virtual/mem/null/uevent"
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if os.Geteuid() == 0 {
		if err := os.WriteFile(file, []byte("change"), 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for {
			e, err := l.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if e.Action == "change" && e.Env["DEVNAME"] == "null" {
				break
			}
		}
	}
	// Written before it is looked for, it is there without waiting.
	if os.Geteuid() == 0 {
		if err := os.WriteFile(file, []byte("change"), 0); err != nil {
			t.Fatal(err)
		}
		for {
			e, ok, err := l.Pending()
			if err != nil || !ok {
				t.Fatalf("no event of null is pending: %v", err)
			}
			if e.Action == "change" && e.Env["DEVNAME"] == "null" {
				break
			}
		}
	}
	for ok := true; ok; {
		var err error
		if _, ok, err = l.Pending(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	for {
		if _, err := l.Next(ctx); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
	}
	// The listener is usable after a cancelled wait.
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.Next(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}
