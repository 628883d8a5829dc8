package scheduler

import (
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// TestArgsAreKnown finds flags that a new upstream version renamed or removed.
func TestArgsAreKnown(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range options.NewOptions().Flags.FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(Config{PKI: "/pki"}.Args()); err != nil {
		t.Error(err)
	}
}
