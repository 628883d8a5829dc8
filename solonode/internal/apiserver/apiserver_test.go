package apiserver

import (
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// TestArgsAreKnown finds flags that a new upstream version renamed or removed.
func TestArgsAreKnown(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range options.NewServerRunOptions().Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	cfg := Config{PKI: "/pki", DatastoreSock: "/run/kine.sock", Advertise: "10.0.0.5", Port: 6443, ServiceCIDR: "10.43.0.0/16", ClusterDomain: "cluster.local"}
	if err := flags.Parse(cfg.Args()); err != nil {
		t.Error(err)
	}
}
