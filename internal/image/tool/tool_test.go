package tool_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/tool"
)

func TestRunGivesAFixedEnvironmentAndLogsTheCommand(t *testing.T) {
	t.Setenv("LANG", "de_DE.UTF-8")
	t.Setenv("KS_UNKNOWN", "1")
	var log bytes.Buffer
	r := tool.New(&log, time.Unix(1700000000, 0))
	out, err := r.Output(context.Background(), tool.Command{Name: "env", Env: []string{"ADDED=yes"}})
	if err != nil {
		t.Fatal(err)
	}
	env := string(out)
	for _, want := range []string{"LC_ALL=C\n", "TZ=UTC\n", "SOURCE_DATE_EPOCH=1700000000\n", "ADDED=yes\n", "PATH="} {
		if !strings.Contains(env, want) {
			t.Errorf("environment lacks %q:\n%s", want, env)
		}
	}
	for _, bad := range []string{"LANG=", "KS_UNKNOWN"} {
		if strings.Contains(env, bad) {
			t.Errorf("environment has %q:\n%s", bad, env)
		}
	}
	for _, want := range []string{"+ env\n", "version: env (GNU coreutils)", "env: ADDED=yes", "took: "} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log.String())
		}
	}
}

func TestUnsetRemovesAFixedVariable(t *testing.T) {
	r := tool.New(nil, time.Unix(1, 0))
	out, err := r.Output(context.Background(), tool.Command{Name: "env", Unset: []string{"SOURCE_DATE_EPOCH"}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "SOURCE_DATE_EPOCH") {
		t.Errorf("still set:\n%s", out)
	}
}

func TestFailureCarriesTheLastLines(t *testing.T) {
	r := tool.New(nil, time.Unix(1, 0))
	err := r.Run(context.Background(), tool.Command{Name: "sh", Args: []string{"-c", "echo no space left >&2; exit 3"}})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("error = %v", err)
	}
}

func TestMissingProgram(t *testing.T) {
	r := tool.New(nil, time.Unix(1, 0))
	err := r.Run(context.Background(), tool.Command{Name: "mksquashfs-of-mars"})
	if !errors.Is(err, tool.ErrMissing) {
		t.Errorf("error = %v, want ErrMissing", err)
	}
	if got := tool.Missing("sh", "/no/such/file", "mcopy-of-mars"); len(got) != 2 {
		t.Errorf("Missing = %v", got)
	}
}
