// Command kubesolo is a complete single-node Kubernetes in one process: the
// unmodified upstream components, wired behind the flags, environment, paths
// and readiness of KubeSolo v1.2.0.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"kubesolo.io/os/solonode/internal/node"
	"kubesolo.io/os/solonode/internal/options"
	"kubesolo.io/os/solonode/internal/statecopy"
	"kubesolo.io/os/solonode/internal/tuning"
)

func main() {
	os.Exit(run(os.Args[1:], node.Run))
}

// run returns the exit code: 0 for a node that was asked to stop, 1 for one
// that failed, 2 for wrong usage. start is the node; tests have a smaller one.
func run(args []string, start func(context.Context, node.Config) error) int {
	begin := time.Now()
	if len(args) > 0 && args[0] == "state" {
		return state(args[1:])
	}
	opts, err := options.Parse(args, os.Getenv)
	switch {
	case errors.Is(err, options.ErrHelp):
		fmt.Print(options.Usage())
		return 0
	case errors.Is(err, options.ErrVersion):
		fmt.Println("kubesolo " + version.Get().GitVersion)
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "kubesolo: %v\n\n%s", err, options.Usage())
		return 2
	}
	log := func(line string) {
		fmt.Fprintf(os.Stderr, "kubesolo %7.1fs %s\n", time.Since(begin).Seconds(), line)
	}
	if err := tuning.Logs(opts.Debug); err != nil {
		log(err.Error())
		return 1
	}
	defer klog.Flush()
	fatal := tuning.CatchFatal()
	memory := tuning.ForMachine(machineMemory())
	log(version.Get().GitVersion + ", " + memory.Apply())
	for _, notice := range opts.Notices {
		log(notice)
	}

	ctx, hurry := signals(log)
	err = start(ctx, node.Config{
		Options: opts, Floor: programTime(), Settle: memory.Settle, Log: log, Hurry: hurry, Fatal: fatal,
	})
	if err != nil {
		log("node failed: " + err.Error())
		return 1
	}
	log("node stopped")
	return 0
}

// state runs `kubesolo state`: 0 for done, 1 for not done, 2 for wrong usage.
func state(args []string) int {
	opts, err := options.Parse(nil, os.Getenv)
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		err = statecopy.Command(ctx, statecopy.Environment{Store: node.StateStore(opts), Socket: statecopy.Socket, Out: os.Stdout}, args)
	}
	switch {
	case errors.Is(err, statecopy.ErrUsage):
		fmt.Fprintln(os.Stderr, "kubesolo:", err)
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, "kubesolo:", err)
		return 1
	}
	return 0
}

// signals ends the context at the first TERM or INT and closes the channel at
// the second, which ksinit sends too, to a node that takes longer than it should.
func signals(log func(string)) (context.Context, <-chan struct{}) {
	received := make(chan os.Signal, 2)
	signal.Notify(received, syscall.SIGTERM, syscall.SIGINT)
	ctx, cancel := context.WithCancel(context.Background())
	hurry := make(chan struct{})
	go func() {
		log("stopping on " + (<-received).String())
		cancel()
		log("hurrying on " + (<-received).String())
		close(hurry)
	}()
	return ctx, hurry
}

func machineMemory() int64 {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return tuning.MachineMemory("", "")
	}
	limit, err := os.ReadFile("/sys/fs/cgroup/kubesolo/memory.max")
	if err != nil {
		limit = nil // no such cgroup: the whole machine is ours
	}
	return tuning.MachineMemory(string(meminfo), string(limit))
}

// programTime is when this program's file was made, a floor for the clock.
func programTime() time.Time {
	info, err := os.Stat("/proc/self/exe")
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
