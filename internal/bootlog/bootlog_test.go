package bootlog

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseRecord(t *testing.T) {
	r, err := ParseRecord([]byte("30,812,1502345,-;ksinit: degraded step=data\n SUBSYSTEM=x\n"))
	if err != nil || r.String() != "<6>[    1.502345] ksinit: degraded step=data" || r.Facility != 3 || r.Urgent() {
		t.Errorf("%+v, %v: %s", r, err, r)
	}
	for text, urgent := range map[string]bool{
		"28,1,1,-;x": true, "30,1,1,-;x": false, // ksinit's warnings
		"3,1,1,-;x": true, "4,1,1,-;x": false, // the kernel's errors
	} {
		if r, err := ParseRecord([]byte(text)); err != nil || r.Urgent() != urgent {
			t.Errorf("%s: urgent is %v, %v", text, r.Urgent(), err)
		}
	}
	for _, bad := range []string{"", "x", "6,1;x", "a,1,1;x", "6,1,-1;x", "6,1,99999999999999999999;x"} {
		if r, err := ParseRecord([]byte(bad)); err == nil {
			t.Errorf("%q was taken as %+v", bad, r)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: x\n SUBSYSTEM=net\n"))
	f.Add([]byte("30,1,9007199254740991,c,caller=T1;\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		line := r.String()
		if strings.Contains(line, "\n") || r.Time < 0 || r.Level < 0 || r.Level > 7 {
			t.Fatalf("%q", line)
		}
		if got := lastTime([]byte("<6>[   0.5] x\n" + line + "\n")); r.Time < 1e17 && (got-r.Time).Abs() > time.Microsecond {
			t.Fatalf("%q: time %v, want %v", line, got, r.Time)
		}
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add([]byte(`{"boot":3,"began":1700000000,"up":61.5,"end":"restart"}` + strings.Repeat(" ", 40)))
	f.Add([]byte(`{"boot":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMark(b)
		if err != nil || len(m.End) > 60 {
			return
		}
		_ = Judge(Evidence{Mark: m}).String()
		path := filepath.Join(t.TempDir(), "mark")
		if err := m.Write(path); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadMark(path); err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}

// The mark is written over what is there, and never grows.
func TestMarkInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mark")
	if _, err := ReadMark(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	var before os.FileInfo
	for i, m := range []Mark{{Boot: 1, Up: 1e9, End: "power off"}, {Boot: 2}} {
		if err := m.Write(path); err != nil {
			t.Fatal(err)
		}
		got, err := ReadMark(path)
		info, statErr := os.Stat(path)
		if err != nil || got != m || statErr != nil || info.Size() != markSize {
			t.Errorf("%+v, %v, %v", got, err, info)
		}
		if i > 0 && !os.SameFile(before, info) {
			t.Error("it is another file")
		}
		before = info
	}
}

func TestJudge(t *testing.T) {
	ran := Mark{Boot: 7, Began: 1_700_000_000, Up: 600}
	ended := ran
	ended.End = "restart"
	panicked := Dump{Panic: "Kernel panic - not syncing: sysrq triggered crash"}
	for _, tc := range []struct {
		e     Evidence
		want  string
		fault bool
	}{
		{Evidence{MarkErr: fs.ErrNotExist}, "first boot", false},
		{Evidence{Mark: ended}, "restart after 10m0s", false},
		{Evidence{Mark: ended, Watchdog: true}, "restart after 10m0s: the watchdog says that it has reset the machine", false},
		{Evidence{Mark: ran, LastLine: 11520 * time.Second}, "power cut or reset after 3h12m0s", false},
		{Evidence{Mark: Mark{Boot: 1}, LastLine: 12300 * time.Millisecond}, "power cut or reset after 12s", false},
		{Evidence{Mark: ran, Watchdog: true}, "watchdog reset after 10m0s", true},
		{Evidence{Mark: ran, Watchdog: true, Dump: panicked}, "kernel panic after 10m0s: Kernel panic - not syncing: sysrq triggered crash", true},
		{Evidence{MarkErr: errors.New("mark of the boot before: rubbish")}, "unknown: mark of the boot before: rubbish", true},
		{Evidence{MarkErr: errors.New("rubbish"), Watchdog: true}, "watchdog reset", true},
	} {
		l := Judge(tc.e)
		if l.String() != tc.want || l.Fault() != tc.fault {
			t.Errorf("%+v:\ngot  %s, %v\nwant %s, %v", tc.e, l, l.Fault(), tc.want, tc.fault)
		}
	}
}

func TestCollect(t *testing.T) {
	pstore, dir := t.TempDir(), t.TempDir()
	if d, err := Collect(pstore, dir, time.Now()); err != nil || len(d.Files) != 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	for i := range 7 {
		for name, text := range map[string]string{
			"dmesg-ramoops-0":   "Panic#2 Part1\n<4>[    1.0] ksinit: degraded message=\"Kernel panic - not syncing: earlier\"\n<0>[    9.1][    T1] Kernel panic - not syncing: Attempted to kill init!\n<0>[ 9.2] x\n",
			"console-ramoops-0": strings.Repeat("x", maxDumpFile+10),
		} {
			if err := os.WriteFile(filepath.Join(pstore, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Collect(pstore, dir, time.Unix(1_700_000_000+int64(i)*3600, 0))
		if err != nil || d.Panic != "Kernel panic - not syncing: Attempted to kill init!" || len(d.Files) != 2 {
			t.Fatalf("%+v, %v", d, err)
		}
		if info, err := os.Stat(d.Files[0]); err != nil || info.Size() != maxDumpFile {
			t.Errorf("%v, %v", info, err)
		}
		if left, _ := os.ReadDir(pstore); len(left) > 0 {
			t.Errorf("left in pstore: %v", left)
		}
	}
	kept, _ := os.ReadDir(dir)
	if len(kept) != maxDumps || kept[0].Name() != "pstore-20231115T001320Z" {
		t.Errorf("kept %v", kept)
	}
}

// Lines wait for their batch, urgent ones do not, and the end writes the rest.
func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		kernel, kmsg := net.Pipe() // a write is a read, as a record is
		r, err := Start(dir, kmsg)
		if err != nil {
			t.Fatal(err)
		}
		say := func(text string) {
			if _, err := kernel.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		lines := func() int {
			b, err := os.ReadFile(Current(dir)[0])
			if err != nil {
				t.Fatal(err)
			}
			return strings.Count(string(b), "\n")
		}
		for i, step := range []struct {
			say  string
			wait time.Duration
			want int
		}{
			{"6,1,1000000,-;one", 29 * time.Second, 0},
			{"rubbish", 0, 0},
			{"6,2,2000000,-;two", 2 * time.Second, 2}, // 30 s after the first
			{"6,3,3000000,-;three", 0, 2},
			{"28,4,4000000,-;ksinit: degraded", 0, 4}, // at once
			{"28,5,5000000,-;ksinit: degraded", 0, 4}, // within a second of the last
			{"28,6,6000000,-;ksinit: degraded", time.Second, 6},
			{"6,7,7000000,-;last", time.Second, 6},
		} {
			say(step.say)
			time.Sleep(step.wait)
			synctest.Wait()
			if got := lines(); got != step.want {
				t.Errorf("after %d: %d lines, want %d", i, got, step.want)
			}
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if err := r.Stop(); err != nil {
			t.Errorf("again: %v", err)
		}
		if got := lines(); got != 7 {
			t.Errorf("%d lines in the end, want 7", got)
		}
		if err := Rotate(dir); err != nil {
			t.Error(err)
		}
		if got := LastLine(dir); got != 7*time.Second || len(Current(dir)) != 0 || len(Previous(dir)) != 1 {
			t.Errorf("last line at %v, current %v, previous %v", got, Current(dir), Previous(dir))
		}
	})
}

// However much the kernel says, two boots take 2 MiB at most, and the newest
// lines are there.
func TestRecorderIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for range 3 {
			if err := Rotate(dir); err != nil {
				t.Fatal(err)
			}
			kernel, kmsg := net.Pipe()
			r, err := Start(dir, kmsg)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 30_000 {
				if _, err := fmt.Fprintf(kernel, "6,1,%d,-;%s", i*1000, strings.Repeat("x", 60)); err != nil {
					t.Fatal(err)
				}
			}
			_ = kernel.Close() // the end of kmsg, which a kernel never gives
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		files := append(Current(dir), Previous(dir)...)
		var sum int64
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		if len(files) != 4 || sum > 2*maxBoot || sum < maxBoot {
			t.Errorf("%d bytes in %v", sum, files)
		}
		if got := LastLine(dir); got != 29_999*time.Millisecond {
			t.Errorf("last line at %v", got)
		}
	})
}
