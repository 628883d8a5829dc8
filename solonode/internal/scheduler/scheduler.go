// Package scheduler runs upstream's kube-scheduler inside the process, without
// its HTTP server and without leader election.
//
// Upstream KubeSolo has no scheduler: a webhook writes the node's name into
// each pod. A pod that does not fit is then refused by the kubelet and created
// again by its controller, without end, and a pod created while the webhook is
// away stays pending for good. docs/adr has the measurement.
package scheduler

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// Config is what differs between nodes.
type Config struct {
	PKI string // directory
}

// Args are the scheduler's flags.
func (cfg Config) Args() []string {
	return []string{
		"--kubeconfig=" + filepath.Join(cfg.PKI, "scheduler", "scheduler.kubeconfig"),
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
	}
}

// Run works until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	schedulerOptions := options.NewOptions()
	flags := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
	for _, set := range schedulerOptions.Flags.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(cfg.Args()); err != nil {
		return fmt.Errorf("scheduler flags: %w", err)
	}
	completed, sched, err := app.Setup(ctx, schedulerOptions)
	if err != nil {
		return fmt.Errorf("scheduler configuration: %w", err)
	}
	err = app.Run(ctx, completed, sched)
	if ctx.Err() != nil {
		return nil // upstream reports its regular end as an error
	}
	return err
}
