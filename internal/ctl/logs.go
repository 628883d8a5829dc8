package ctl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// logDir is where PID 1 puts what services print, one file each and one
	// that was before it, NAME.log.1.
	logDir = "var/log"
	// previousBoot is where PID 1 puts the log of the boot before
	// (internal/bootlog).
	previousBoot = "boot-previous"
	// kernelLog has PID 1's own lines among the kernel's.
	kernelLog = "dev/kmsg"
	// logPoll is how often a followed file is looked at.
	logPoll = 250 * time.Millisecond
)

func (p Program) path(name string) string { return filepath.Join(p.Root, "/", name) }

func (p Program) logs(args []string) int {
	flags := p.flags("logs", "[SERVICE]", `Prints the last lines of what a service printed or, without SERVICE, of the node's
own log: what PID 1 says in the kernel log.

Examples:
  ksctl logs
  ksctl logs --previous-boot
  ksctl logs kubesolo -n 1000
  ksctl logs ksagent -f`)
	follow := flags.Bool("f", false, "follow: go on with what is to come")
	lines := flags.Int("n", 100, "number of lines; 0 is all that is kept")
	kernel := flags.Bool("kernel", false, "without SERVICE: the kernel's lines too")
	previous := flags.Bool("previous-boot", false, "the log of the boot before: the kernel's lines and PID 1's")
	rest, status, ok := p.parse(flags, args)
	if !ok {
		return status
	}
	var err error
	switch {
	case *previous && (len(rest) > 0 || *follow || *kernel):
		err = errors.New("--previous-boot goes with -n only: that boot is over, and its log has everything in it")
	case *previous && !slices.Contains(p.logNames(), previousBoot):
		err = errors.New("no log of the boot before: this is the first of this disk, or nothing is kept (kubesolo.nopersist, no data partition)")
	case *previous:
		err = p.serviceLog(previousBoot, *lines, false)
	case len(rest) > 1:
		err = fmt.Errorf("logs takes one service, not also %q", rest[1])
	case *lines < 0:
		err = fmt.Errorf("-n %d: it is a number of lines, or 0", *lines)
	case len(rest) == 1 && *kernel:
		err = fmt.Errorf("--kernel goes without SERVICE")
	case len(rest) == 1:
		err = p.serviceLog(rest[0], *lines, *follow)
	default:
		err = p.nodeLog(*lines, *follow, *kernel)
	}
	if err != nil {
		return p.unknown(err)
	}
	return exitGood
}

func (p Program) serviceLog(name string, lines int, follow bool) error {
	if !slices.Contains(p.logNames(), name) {
		return fmt.Errorf("no log of %q; there are %s", name, orDash(strings.Join(p.logNames(), ", ")))
	}
	path := p.path(filepath.Join(logDir, name+".log"))
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	now, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if lines == 0 || bytes.Count(now, []byte("\n")) < lines {
		before, err := os.ReadFile(path + ".1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		now = append(before, now...)
	}
	if _, err := p.Stdout.Write(lastLines(now, lines)); err != nil || !follow {
		return err
	}
	for {
		if _, err := io.Copy(p.Stdout, f); err != nil {
			return err
		}
		if f, err = newer(f, path, p.Stdout); err != nil {
			return err
		}
		time.Sleep(logPoll)
	}
}

// newer gives the file that is at path now, after the rest of the one that was.
func newer(f *os.File, path string, out io.Writer) (*os.File, error) {
	was, err := f.Stat()
	if err != nil {
		return f, err
	}
	is, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && os.SameFile(was, is) {
		return f, nil // between two files, or still the same
	}
	if err != nil {
		return f, err
	}
	if _, err := io.Copy(out, f); err != nil {
		return f, err
	}
	_ = f.Close()
	return os.Open(path)
}

func (p Program) logNames() []string {
	files, _ := filepath.Glob(p.path(logDir + "/*.log")) // the pattern is good
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".log"))
	}
	return names
}

// lastLines cuts text to its last n lines; 0 is all.
func lastLines(text []byte, n int) []byte {
	if n == 0 {
		return text
	}
	end := len(text)
	if end > 0 && text[end-1] == '\n' {
		end--
	}
	for ; n > 0; n-- {
		i := bytes.LastIndexByte(text[:end], '\n')
		if i < 0 {
			return text
		}
		end = i
	}
	return text[end+1:]
}

// nodeLog prints the kernel log, of which PID 1 writes a part. A reader gets one
// record a read, and EPIPE where records were overwritten before it came to
// them (Documentation/ABI/testing/dev-kmsg).
func (p Program) nodeLog(lines int, follow, kernel bool) error {
	var kept bytes.Buffer
	err := readKernelLog(p.path(kernelLog), false, func(r record) error {
		if kernel || r.ours() {
			kept.WriteString(r.String())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := p.Stdout.Write(lastLines(kept.Bytes(), lines)); err != nil || !follow {
		return err
	}
	return readKernelLog(p.path(kernelLog), true, func(r record) error {
		if !kernel && !r.ours() {
			return nil
		}
		_, err := io.WriteString(p.Stdout, r.String())
		return err
	})
}

// readKernelLog gives each record that is there or, waiting, those to come.
func readKernelLog(path string, wait bool, take func(record) error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	if wait {
		if _, err := unix.Seek(fd, 0, io.SeekEnd); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN) && wait:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			continue
		case errors.Is(err, unix.EAGAIN), err == nil && n == 0:
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", path, err)
		}
		if r, ok := parseRecord(string(buf[:n])); ok {
			if err := take(r); err != nil {
				return err
			}
		}
	}
}
