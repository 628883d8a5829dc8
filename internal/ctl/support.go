package ctl

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"kubesolo.io/os/internal/control"
)

// mostOfFile is how much of one file gets into a bundle; of a longer one, the end.
const mostOfFile = 2 << 20

// bundle writes an archive, one file after the other, without secrets.
type bundle struct {
	out    *tar.Writer
	hide   hider
	now    time.Time
	root   string // directory of the archive
	errors []string
	say    func(format string, args ...any)
}

func (p Program) support(args []string) int {
	file, status, ok := p.order(args, "support", "FILE", `Collects what helps to find a fault, as FILE (tar.gz; - is standard output): how
the node is, timeline, events, logs of services and of the kernel, mounts, network,
memory and processes, the configuration in force, versions. Passwords, keys and
tokens are hidden, in logs too. What cannot be collected is named in errors.txt;
without an answer of PID 1 the rest is collected all the same.

Example, from a laptop: ssh root@node ksctl support - > node.tar.gz`)
	if !ok {
		return status
	}
	if err := p.writeBundle(file); err != nil {
		return p.unknown(fmt.Errorf("support: %w", err))
	}
	return exitGood
}

func (p Program) writeBundle(file string) error {
	if file == "-" {
		return p.collect(p.Stdout)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = p.collect(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	if info, err := os.Stat(file); err == nil {
		fmt.Fprintf(p.Stderr, "%s: %d kB\n", file, (info.Size()+1023)/1024)
	}
	return nil
}

func (p Program) collect(out io.Writer) error {
	zip := gzip.NewWriter(out)
	b := &bundle{out: tar.NewWriter(zip), now: time.Now().UTC(), root: "kubesolo-support",
		say: func(format string, args ...any) { fmt.Fprintf(p.Stderr, format+"\n", args...) }}
	var services []control.Service
	if err := p.get(control.VerbServices, &services); err != nil {
		b.failed("services", err)
	}
	var pids []int
	for _, s := range services {
		if s.Pid != 0 {
			pids = append(pids, s.Pid)
		}
	}
	b.hide = newHider(p.secrets(pids))
	err := errors.Join(
		p.collectAnswers(b),
		p.collectFiles(b),
		b.generated("dmesg.txt", p.kernelLogText),
		b.generated("processes.txt", p.processes),
		b.generated("errors.txt", func() ([]byte, error) { return []byte(strings.Join(append(b.errors, ""), "\n")), nil }))
	return errors.Join(err, b.out.Close(), zip.Close())
}

// collectAnswers asks PID 1 for all it knows.
func (p Program) collectAnswers(b *bundle) error {
	b.say("asking PID 1")
	for _, verb := range []string{control.VerbStatus, control.VerbServices, control.VerbTimeline, control.VerbNetwork} {
		err := b.generated(verb+".json", func() ([]byte, error) {
			var v json.RawMessage
			if err := p.get(verb, &v); err != nil {
				return nil, err
			}
			var text bytes.Buffer
			err := json.Indent(&text, v, "", "  ")
			return append(text.Bytes(), '\n'), err
		})
		if err != nil {
			return err
		}
	}
	return b.generated("events.jsonl", func() ([]byte, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var text bytes.Buffer
		err := control.Call(ctx, p.socket(), control.Request{Verb: control.VerbEvents}, func(data json.RawMessage) error {
			text.Write(append(data, '\n'))
			return nil
		})
		return text.Bytes(), err
	})
}

// collectFiles copies files of the node; a pattern that matches nothing is
// nothing this node has.
func (p Program) collectFiles(b *bundle) error {
	for _, part := range []struct {
		dir, title string
		patterns   []string
	}{
		{"version", "versions", []string{"etc/os-release", "etc/kubesolo-os/*", "proc/version", "var/lib/update/state.json"}},
		{"logs", "logs", []string{logDir + "/*.log", logDir + "/*.log.1"}},
		{"system", "the kernel's views", []string{"proc/cmdline", "proc/1/mountinfo", "proc/meminfo", "proc/cpuinfo", "proc/modules", "proc/uptime",
			"proc/loadavg", "proc/diskstats", "proc/partitions", "proc/swaps", "proc/interrupts", "proc/pressure/*", "proc/sys/kernel/tainted",
			"sys/fs/cgroup/*/memory.stat", "sys/fs/cgroup/*/memory.events", "sys/fs/cgroup/*/memory.current"}},
		{"network", "network", []string{"proc/1/net/dev", "proc/1/net/route", "proc/1/net/arp", "proc/1/net/tcp", "proc/1/net/tcp6", "proc/1/net/udp",
			"proc/1/net/if_inet6", "proc/1/net/ipv6_route", "proc/1/net/bonding/*", "etc/resolv.conf", "etc/hosts", "etc/hostname"}},
	} {
		b.say("%s", part.title)
		for _, pattern := range part.patterns {
			files, err := filepath.Glob(p.path(pattern))
			if err != nil {
				return err
			}
			for _, file := range files {
				if err := b.file(path.Join(part.dir, p.nameIn(part.dir, file)), file); err != nil {
					return err
				}
			}
		}
	}
	// What the kernel left when it died; see internal/bootlog.
	dumps, err := filepath.Glob(p.path(logDir + "/pstore-*/*"))
	if err != nil {
		return err
	}
	for _, file := range dumps {
		if err := b.file(path.Join("pstore", filepath.Base(filepath.Dir(file)), filepath.Base(file)), file); err != nil {
			return err
		}
	}
	if err := b.file("last-boot.json", filepath.Join(p.RunDir, "last-boot.json")); err != nil {
		return err
	}
	b.say("configuration")
	for _, name := range []string{"config.json", "origins.json"} { // secrets are hidden in them already
		if err := b.file("config/"+name, filepath.Join(p.RunDir, name)); err != nil {
			return err
		}
	}
	return nil
}

// nameIn is the name of a file in its directory of the archive.
func (p Program) nameIn(dir, file string) string {
	if dir == "logs" {
		return filepath.Base(file)
	}
	rel, err := filepath.Rel(p.path(""), file)
	if err != nil {
		rel = file
	}
	return strings.ReplaceAll(rel, "/", "_")
}

func (b *bundle) file(name, from string) error {
	return b.generated(name, func() ([]byte, error) { return tail(from) })
}

// tail reads the end of a file. Files of /proc have no size: they are read
// whole, as far as allowed.
func tail(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s: %v is not a file", name, info.Mode()))
	}
	if info.Size() > mostOfFile {
		if _, err := f.Seek(-mostOfFile, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, mostOfFile))
}

// generated adds what make gives. Only what keeps the archive from being
// written is an error.
func (b *bundle) generated(name string, make func() ([]byte, error)) error {
	text, err := make()
	if err != nil {
		b.failed(name, err)
		if len(text) == 0 {
			return nil
		}
	}
	text = b.hide.hide(text)
	err = b.out.WriteHeader(&tar.Header{Name: path.Join(b.root, name), Mode: 0o600, Size: int64(len(text)), ModTime: b.now, Format: tar.FormatPAX})
	if err != nil {
		return err
	}
	_, err = b.out.Write(text)
	return err
}

func (b *bundle) failed(name string, err error) {
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, control.ErrNoNode) {
		return // this node has none
	}
	b.errors = append(b.errors, fmt.Sprintf("%s: %v", name, err))
	b.say("%s: %v", name, err)
}

func (p Program) kernelLogText() ([]byte, error) {
	var text bytes.Buffer
	err := readKernelLog(p.path(kernelLog), false, func(r record) error {
		fmt.Fprintf(&text, "<%d>%s", r.priority, r.String())
		return nil
	})
	return text.Bytes(), err
}

// processes lists what runs. Arguments and environments stay away: people put
// passwords there.
func (p Program) processes() ([]byte, error) {
	dirs, err := filepath.Glob(p.path("proc/[0-9]*"))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(dirs, func(a, b string) int {
		x, _ := strconv.Atoi(filepath.Base(a))
		y, _ := strconv.Atoi(filepath.Base(b))
		return x - y
	})
	var text bytes.Buffer
	for _, dir := range dirs {
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // has ended
		}
		if err != nil {
			return text.Bytes(), err
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(line, ":")
			fields[name] = strings.TrimSpace(value)
		}
		fmt.Fprintf(&text, "%s ppid %s state %s threads %s rss %s %s\n", filepath.Base(dir), fields["PPid"], fields["State"], fields["Threads"],
			orDash(fields["VmRSS"]), fields["Name"])
	}
	return text.Bytes(), nil
}
