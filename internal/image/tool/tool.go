// Package tool runs the host's programs for the image build.
//
// It owns the only os/exec calls of the build: every program gets a small fixed
// environment (the same bytes must come out on every machine), its exact command
// line and version go to the build log, and a failure carries the last lines the
// program wrote. It never runs on the node. Tested with real programs.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// keptVariables are handed on from the caller's environment: where things are and how
// to reach the network, nothing that could change what a program writes.
const keptVariables = "PATH HOME TMPDIR GOCACHE GOMODCACHE GOPATH GOROOT GOPROXY GONOSUMDB GONOSUMCHECK GOSUMDB GOFLAGS GOTOOLCHAIN " +
	"HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy SSL_CERT_FILE SSL_CERT_DIR"

// Runner runs programs with the build's environment. Its methods may be called from
// several goroutines.
type Runner struct {
	log   io.Writer
	epoch time.Time

	mu       sync.Mutex
	versions map[string]string
}

// New returns a Runner that writes its log to log (nil: no log) and gives every
// program SOURCE_DATE_EPOCH = epoch.
func New(log io.Writer, epoch time.Time) *Runner {
	if log == nil {
		log = io.Discard
	}
	return &Runner{log: log, epoch: epoch, versions: map[string]string{}}
}

// Epoch is the one time stamp of everything the build writes.
func (r *Runner) Epoch() time.Time { return r.epoch }

// Command is one program run.
type Command struct {
	Name   string
	Args   []string
	Dir    string    // working directory, "" for the caller's
	Env    []string  // added to the fixed environment, KEY=value
	Unset  []string  // names removed from it
	Stdin  io.Reader // nil: empty
	Stdout io.Writer // nil: into the log
}

// ErrMissing is wrapped when a program is not on this machine.
var ErrMissing = errors.New("program is not installed")

// Run runs c to its end.
func (r *Runner) Run(ctx context.Context, c Command) error {
	path, err := find(c.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, ErrMissing)
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = r.environment(c)
	cmd.Stdin = c.Stdin
	tail := &tailWriter{limit: 4096}
	var logged bytes.Buffer
	cmd.Stderr = io.MultiWriter(&logged, tail)
	cmd.Stdout = c.Stdout
	if c.Stdout == nil {
		cmd.Stdout = cmd.Stderr
	}
	start := time.Now()
	err = cmd.Run()
	r.record(c, &logged, time.Since(start), err)
	if err != nil {
		return fmt.Errorf("%s: %w%s", c.Name, err, tail.hint())
	}
	return nil
}

// Output runs c and returns what it wrote to its standard output.
func (r *Runner) Output(ctx context.Context, c Command) ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := r.Run(ctx, c)
	return out.Bytes(), err
}

func (r *Runner) environment(c Command) []string {
	env := []string{"LC_ALL=C", "TZ=UTC", "SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.epoch.Unix(), 10)}
	for name := range strings.FieldsSeq(keptVariables) {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	env = append(env, c.Env...)
	kept := env[:0]
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if !contains(c.Unset, name) {
			kept = append(kept, kv)
		}
	}
	return kept
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// record appends the run to the build log in one write, so that concurrent runs do not mix.
func (r *Runner) record(c Command, out *bytes.Buffer, took time.Duration, err error) {
	version := r.Version(c.Name)
	var b bytes.Buffer
	fmt.Fprintf(&b, "+ %s", c.Name)
	for _, a := range c.Args {
		if strings.ContainsAny(a, " \t\n'\"$") {
			a = strconv.Quote(a)
		}
		b.WriteString(" " + a)
	}
	fmt.Fprintf(&b, "\n  version: %s\n", version)
	if c.Dir != "" {
		fmt.Fprintf(&b, "  dir: %s\n", c.Dir)
	}
	for _, kv := range c.Env {
		fmt.Fprintf(&b, "  env: %s\n", kv)
	}
	b.Write(out.Bytes())
	if err != nil {
		fmt.Fprintf(&b, "  result: %v\n", err)
	}
	fmt.Fprintf(&b, "  took: %.1fs\n", took.Seconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.log.Write(b.Bytes()) // the log is for people: a full disk shows up in the outputs themselves
}

// tailWriter keeps the last bytes a program wrote, for its error.
type tailWriter struct {
	limit int
	data  []byte
}

func (t *tailWriter) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if len(t.data) > t.limit {
		t.data = append([]byte(nil), t.data[len(t.data)-t.limit:]...)
	}
	return len(p), nil
}

func (t *tailWriter) hint() string {
	text := strings.TrimSpace(string(t.data))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	if len(lines) > 8 {
		lines = lines[len(lines)-8:]
	}
	return "\n    " + strings.Join(lines, "\n    ")
}
