package proxy

import (
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
)

// TestArgsAreKnown finds flags that a new upstream version renamed or removed,
// and values it refuses.
func TestArgsAreKnown(t *testing.T) {
	proxyOptions := app.NewOptions()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	proxyOptions.AddFlags(flags)
	if err := flags.Parse(Config{PKI: "/pki", NodeName: "node1", PodCIDR: "10.42.0.0/16"}.Args()); err != nil {
		t.Fatal(err)
	}
	if err := proxyOptions.Complete(flags); err != nil {
		t.Fatal(err)
	}
	if err := proxyOptions.Validate(); err != nil {
		t.Error(err)
	}
}
