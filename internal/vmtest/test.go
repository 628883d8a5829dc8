package vmtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TB is the part of testing.TB that Run needs. Package testing itself stays
// out, as the run command of ksimage uses this package too.
type TB interface {
	Helper()
	Name() string
	Failed() bool
	Cleanup(func())
	Context() context.Context
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// TranscriptsEnv names the directory for transcripts of failed tests.
const TranscriptsEnv = "KS_TRANSCRIPTS"

// Run is Start for a test: the machine ends with the test, and when that
// failed the transcript is written to $KS_TRANSCRIPTS/NAME.log, by default
// build/transcripts in the module's root.
func Run(t TB, c Config) *VM {
	t.Helper()
	if c.Name == "" {
		c.Name = t.Name()
	}
	// Not t.Context(): that ends before the cleanup functions run, and some
	// of them want to ask the machine something.
	v, err := Start(context.Background(), c, nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		v.PowerCut()
		if !t.Failed() {
			return
		}
		path, err := v.saveTranscript()
		if err != nil {
			t.Logf("transcript: %v", err)
		}
		t.Logf("transcript of %s: %s\n%s", c.Name, path, v.console.tail(30))
	})
	return v
}

// ShellPrompt matches the end of busybox's prompt, which asks the terminal
// where its cursor is.
const ShellPrompt = `# (\x1b\[6n)?$`

// MustAnswer types a command at the shell's prompt and waits for its answer, a
// regular expression, as a line of its own: the echo of the command does not
// count.
func MustAnswer(t TB, v *VM, command, answer string, limit time.Duration) {
	t.Helper()
	if _, err := v.Expect(ShellPrompt, limit); err != nil {
		t.Fatalf("%v", err)
	}
	if err := v.Type(command + "\n"); err != nil {
		t.Fatalf("%v", err)
	}
	if _, err := v.Expect(`(?m)^`+answer+`\r?$`, limit); err != nil {
		t.Fatalf("%v", err)
	}
}

// MustEnd waits for a machine that ends by itself, for that reason.
func MustEnd(t TB, v *VM, reason string, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if exit, err := v.Wait(ctx); err != nil || exit.Reason != reason || exit.Err != nil {
		t.Fatalf("ended by %+v, %v; want %s", exit, err, reason)
	}
}

func (v *VM) saveTranscript() (string, error) {
	dir := os.Getenv(TranscriptsEnv)
	if dir == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(root, "build", "transcripts")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, strings.ReplaceAll(v.Config.Name, "/", "-")+".log")
	events, _, _ := v.ports[EventsPort].from(0)
	text := v.Transcript() + "\n===== events =====\n" + string(events)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// moduleRoot is the nearest directory upwards that has go.mod and internal.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "internal", "vmtest")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return dir, nil
		}
	}
}
