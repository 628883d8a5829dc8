package bootlog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kubesolo.io/os/internal/atomicfile"
)

// Bounds of what is kept of pstore.
const (
	maxDumpFile = 256 << 10
	maxDumps    = 5 // directories, the newest
	dumpPrefix  = "pstore-"
)

// A Dump is what the kernel left in pstore when it died.
type Dump struct {
	Files []string // the copies
	Panic string   // what the panic said; "" when it was none
}

// Collect moves the files of a mounted pstore into a directory of their own
// below dir, named by the time. What could not be copied stays in pstore.
func Collect(pstore, dir string, now time.Time) (Dump, error) {
	entries, err := os.ReadDir(pstore)
	if err != nil || len(entries) == 0 {
		return Dump{}, err
	}
	into := filepath.Join(dir, dumpPrefix+now.UTC().Format("20060102T150405Z"))
	if err := os.MkdirAll(into, 0o750); err != nil {
		return Dump{}, err
	}
	var d Dump
	var errs []error
	for _, e := range entries {
		from, to := filepath.Join(pstore, e.Name()), filepath.Join(into, e.Name())
		text, err := readHead(from)
		if err == nil {
			err = atomicfile.Write(to, text, 0o640)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.Files = append(d.Files, to)
		if reason := panicReason(text); d.Panic == "" || strings.HasPrefix(reason, panicWord) {
			d.Panic = reason
		}
		errs = append(errs, os.Remove(from))
	}
	return d, errors.Join(append(errs, forget(dir))...)
}

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDumpFile))
}

const panicWord = "Kernel panic - not syncing"

// panicReason finds what a panic said; "" when the text is of none. Each part
// of a dump begins with the kernel's "Panic#1 Part1" (fs/pstore/platform.c). The
// line is the kernel's own: ksinit's say what an earlier panic said.
func panicReason(text []byte) string {
	for line := range bytes.Lines(text) {
		_, message, _ := bytes.Cut(line, []byte("] "))
		if bytes.HasPrefix(message, []byte(panicWord)) {
			message = bytes.TrimSpace(message)
			return strings.ToValidUTF8(string(message[:min(len(message), 200)]), "?")
		}
	}
	if bytes.HasPrefix(text, []byte("Panic#")) {
		return "recorded in pstore"
	}
	return ""
}

// forget removes all dumps but the newest.
func forget(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	dumps := slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return !e.IsDir() || !strings.HasPrefix(e.Name(), dumpPrefix)
	})
	var errs []error
	for _, e := range dumps[:max(0, len(dumps)-maxDumps)] { // by name, which is by time
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

// LastLine is the time of the last line in the log of the boot before.
func LastLine(dir string) time.Duration {
	files := Previous(dir)
	slices.Reverse(files)
	for _, path := range files {
		if t := lastTime(readTail(path)); t > 0 {
			return t
		}
	}
	return 0
}

func readTail(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 4<<10 {
		_, _ = f.Seek(-4<<10, io.SeekEnd) // else all of it is read
	}
	b, _ := io.ReadAll(f)
	return b
}
