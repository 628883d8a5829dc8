package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubesolo.io/os/solonode/internal/lifecycle"
	"kubesolo.io/os/solonode/internal/node"
)

// childEnv makes the test binary the program, with two small components in
// place of a node's. Its value says what the one that stops first does.
const childEnv = "KUBESOLO_TEST_CHILD"

func TestMain(m *testing.M) {
	first := os.Getenv(childEnv)
	if first == "" {
		os.Exit(m.Run())
	}
	os.Exit(run(nil, func(ctx context.Context, cfg node.Config) error {
		serve := func(name string, hangs bool) lifecycle.Component {
			return lifecycle.Component{
				Name: name, StopTimeout: time.Hour, StopReserve: time.Minute,
				Run: func(ctx context.Context) error {
					if name == "first" && first == "fails" {
						return fmt.Errorf("as told")
					}
					<-ctx.Done()
					cfg.Log("ending " + name)
					for hangs {
						time.Sleep(time.Hour)
					}
					return nil
				},
			}
		}
		list := []lifecycle.Component{serve("store", false), serve("first", first == "hangs")}
		list[1].StopReserve = 0 // a hurry leaves it behind at once
		return lifecycle.Run(ctx, list, lifecycle.Options{
			StopBudget: time.Hour, StartupTimeout: time.Hour, Log: cfg.Log, Hurry: cfg.Hurry, Fatal: cfg.Fatal,
		})
	}))
}

// TestSignals starts the program, waits for each line and then sends the signal.
func TestSignals(t *testing.T) {
	type step struct {
		line   string
		signal os.Signal
	}
	term, interrupt := syscall.SIGTERM, syscall.SIGINT
	tests := map[string]struct {
		first string
		steps []step
		code  int
		want  []string // lines, in this order
	}{
		"TERM": {
			first: "ends", steps: []step{{"component ready: store", term}},
			want: []string{"stopping on terminated", "ending first", "ending store", "node stopped"},
		},
		"INT": {
			first: "ends", steps: []step{{"component ready: store", interrupt}},
			want: []string{"stopping on interrupt", "ending first", "ending store", "node stopped"},
		},
		"the second TERM leaves behind what hangs, and nothing else": {
			first: "hangs", steps: []step{{"component ready: store", term}, {"ending first", term}},
			want: []string{"stopping on terminated", "hurrying on terminated", "component left behind: first", "ending store", "node stopped"},
		},
		"no signal": {
			first: "fails", code: 1,
			want: []string{"ending store", "node failed: component first: as told"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, "/proc/self/exe")
			command.Env = []string{childEnv + "=" + test.first}
			output, err := command.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			steps := test.steps
			for lines := bufio.NewScanner(output); lines.Scan(); {
				text.WriteString(lines.Text() + "\n")
				if len(steps) > 0 && strings.Contains(lines.Text(), steps[0].line) {
					if err := command.Process.Signal(steps[0].signal); err != nil {
						t.Error(err)
					}
					steps = steps[1:]
				}
			}
			_ = command.Wait() // the exit code is read from ProcessState
			if code := command.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			rest := text.String()
			for _, line := range test.want {
				_, after, found := strings.Cut(rest, line)
				if !found {
					t.Fatalf("no %q in its place:\n%s", line, text.String())
				}
				rest = after
			}
		})
	}
}
