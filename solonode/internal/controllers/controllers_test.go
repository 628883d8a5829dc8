package controllers

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
)

// TestArgsAreKnown finds flags and controllers that a new upstream version
// renamed or removed.
func TestArgsAreKnown(t *testing.T) {
	manager, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range manager.Flags(app.KnownControllers(), nil, nil).FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(Config{PKI: "/pki"}.Args()); err != nil {
		t.Error(err)
	}
	for _, name := range disabled() {
		if !slices.Contains(app.KnownControllers(), name) {
			t.Errorf("no controller %s", name)
		}
	}
}
