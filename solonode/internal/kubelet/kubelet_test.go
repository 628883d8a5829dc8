package kubelet

import (
	"testing"

	"k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
)

// TestConfigurationIsValid asks upstream's own check: a value that a new
// version refuses must fail here and not on a node.
func TestConfigurationIsValid(t *testing.T) {
	cfg := Config{
		PKI: "/pki", RootDir: "/var/lib/kubesolo/kubelet", NodeName: "node1", NodeIP: "10.0.0.5",
		RuntimeEndpoint: "unix:///run/containerd/containerd.sock", ResolvConf: "/etc/resolv.conf",
		ClusterDNS: "10.43.0.10", ClusterDomain: "cluster.local", CPUManagerPolicy: "none",
		SystemReserved: map[string]string{"memory": "64Mi"},
	}
	configuration, err := cfg.Configuration()
	if err != nil {
		t.Fatal(err)
	}
	// The check looks at the host it runs on, which need not be a node.
	configuration.FailCgroupV1 = false
	if err := validation.ValidateKubeletConfiguration(configuration, utilfeature.DefaultFeatureGate); err != nil {
		t.Error(err)
	}
	server := &options.KubeletServer{KubeletFlags: *options.NewKubeletFlags(), KubeletConfiguration: *configuration}
	if err := options.ValidateKubeletServer(server); err != nil {
		t.Error(err)
	}
	if configuration.Authentication.Anonymous.Enabled || configuration.ReadOnlyPort != 0 || configuration.MakeIPTablesUtilChains {
		t.Error("an open port or a host chain is on")
	}
	if configuration.EnableControllerAttachDetach {
		t.Error("volumes wait for a controller that is off")
	}
}
