package event

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEncode(t *testing.T) {
	for _, tc := range []struct {
		e    Event
		want string
	}{
		{Event{Time: 3.25, Type: Step, Name: "data", State: "ok", Message: `a "b"`, Duration: 0.5},
			`{"time":3.25,"type":"step","name":"data","state":"ok","message":"a \"b\"","duration":0.5}` + "\n"},
		{Event{Time: 1, Type: Ready}, `{"time":1,"type":"ready"}` + "\n"},
		{Event{Time: math.NaN(), Type: Ready, Duration: math.Inf(1)}, `{"time":0,"type":"ready"}` + "\n"},
	} {
		if got := string(Encode(tc.e)); got != tc.want {
			t.Errorf("got  %swant %s", got, tc.want)
		}
	}
	long := string(Encode(Event{Type: Step, Message: strings.Repeat("x", 100_000) + "cause"}))
	if len(long) > 10_000 || !strings.Contains(long, `xcause"`) {
		t.Errorf("a long message became %d bytes ending in %q", len(long), long[len(long)-20:])
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, in := range []string{"", "{}", "[]", `{"type":1}`, `{"name":"x"}`, `{"type":"step"} x`} {
		if e, err := Decode([]byte(in)); err == nil {
			t.Errorf("%q was taken as %+v", in, e)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"time":3.25,"type":"step","name":"data","state":"ok","message":"m","duration":0.5}`))
	f.Add([]byte(`{"type":"x","unknown":[1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			return
		}
		line := Encode(e)
		if strings.Count(string(line), "\n") != 1 {
			t.Fatalf("not one line: %q", line)
		}
		again, err := Decode(line)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Message) <= maxMessage && again != e {
			t.Fatalf("%+v became %+v", e, again)
		}
	})
}

func TestLogKeepsTheLastAndReplays(t *testing.T) {
	log := NewLog(3)
	for _, name := range []string{"a", "b", "c", "d"} {
		log.Emit(Event{Type: Step, Name: name})
	}
	events := log.Events()
	if len(events) != 3 || events[0].Name != "b" || events[0].Time == 0 {
		t.Fatalf("kept %+v", events)
	}
	r, w := io.Pipe()
	s := NewStream(w, 16)
	log.Attach(s)
	log.Emit(Event{Type: Step, Name: "e"})
	lines := bufio.NewScanner(r)
	for _, want := range []string{"b", "c", "d", "e"} {
		if !lines.Scan() {
			t.Fatal("stream ended")
		}
		if e, err := Decode(lines.Bytes()); err != nil || e.Name != want {
			t.Fatalf("got %+v, %v; want %s", e, err, want)
		}
	}
	s.Close()
	<-s.Done()
	s.Emit(Event{Type: Step}) // must not block
}

func TestStreamNeverBlocksAndDropsTheOldest(t *testing.T) {
	r, w := io.Pipe() // nobody reads yet
	s := NewStream(w, 4)
	for i := range 100 {
		s.Emit(Event{Type: Step, Time: float64(i + 1)})
	}
	s.Close()
	var last Event
	n := 0
	for lines := bufio.NewScanner(r); n < 3 && lines.Scan(); n++ {
		var err error
		if last, err = Decode(lines.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	// The writer holds at most one early event; the queue holds the newest.
	if last.Time < 97 {
		t.Errorf("the third event written is of time %v, want one of the newest", last.Time)
	}
	_ = r.Close()
	<-s.Done()
}

type sinkFunc func(Event)

func (f sinkFunc) Emit(e Event) { f(e) }

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "events.sock")
	for range 2 { // the second round replaces the first one's socket
		conn, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan Event, 1)
		ended := make(chan error, 1)
		go func() { ended <- Serve(conn, sinkFunc(func(e Event) { got <- e })) }()
		client, err := Dial(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.conn.Write([]byte("garbage")); err != nil {
			t.Fatal(err)
		}
		client.Emit(Event{Type: Health, Name: "api", State: "ok"})
		if e := <-got; e.Name != "api" || e.Time == 0 {
			t.Errorf("got %+v", e)
		}
		_ = conn.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		client.Emit(Event{Type: Health}) // nobody there: lost, not an error
		_ = client.Close()
	}
}

func addPort(t *testing.T, sysfs, port, name string) {
	t.Helper()
	dir := filepath.Join(sysfs, "class/virtio-ports", port)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "name"), []byte(name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFindPort(t *testing.T) {
	sysfs := t.TempDir()
	addPort(t, sysfs, "vport0p1", "io.kubesolo.kubeconfig")
	addPort(t, sysfs, "vport0p2", PortName)
	if got, err := FindPort(sysfs, "/dev", PortName); err != nil || got != "/dev/vport0p2" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := FindPort(sysfs, "/dev", "org.other"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
}

// A port of TestPanicUEFI came after the step that looked for it, and the host
// heard nothing of that boot.
func TestWaitPort(t *testing.T) {
	sysfs := t.TempDir()
	news := []string{"io.kubesolo.kubeconfig", PortName} // one port comes after the other
	got, err := WaitPort(t.Context(), sysfs, "/dev", PortName, func(context.Context) error {
		addPort(t, sysfs, fmt.Sprintf("vport0p%d", 3-len(news)), news[0])
		news = news[1:]
		return nil
	})
	if err != nil || got != "/dev/vport0p2" || len(news) != 0 {
		t.Errorf("got %q, %v with %q still to come", got, err, news)
	}
	over := errors.New("no more news")
	if _, err := WaitPort(t.Context(), sysfs, "/dev", "org.other", func(context.Context) error { return over }); !errors.Is(err, over) {
		t.Errorf("got %v, want %v", err, over)
	}
}

func TestNowIsMonotonic(t *testing.T) {
	a := Now()
	if b := Now(); a <= 0 || b < a {
		t.Errorf("%v then %v", a, b)
	}
}

// A follower that hung up must not stay on the list for as long as PID 1 lives.
func TestLogForgetsEndedStreams(t *testing.T) {
	var seen Log
	seen.max = 10
	log := NewLog(2, &seen)
	s := NewStream(io.Discard, 4)
	log.Attach(s)
	log.Emit(Event{Type: Step, Name: "a"})
	s.Close()
	<-s.Done()
	log.Emit(Event{Type: Step, Name: "b"})
	if len(log.streams) != 0 {
		t.Errorf("%d streams are left", len(log.streams))
	}
	if got := seen.Events(); len(got) != 2 || got[1].Name != "b" || got[1].Time == 0 {
		t.Errorf("the sink got %v", got)
	}
}

// The last event of a boot is out before the machine is switched off.
func TestLogClose(t *testing.T) {
	r, w := io.Pipe()
	log := NewLog(4)
	log.Attach(NewStream(w, 4))
	log.Emit(Event{Type: Shutdown, State: "done"})
	read := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(r).ReadString('\n')
		read <- line
	}()
	log.Close(time.Minute)
	if line := <-read; !strings.Contains(line, `"done"`) {
		t.Errorf("got %q", line)
	}
	_, nobody := io.Pipe()
	log.Attach(NewStream(nobody, 4))
	log.Close(time.Millisecond) // returns, though nobody reads
}
