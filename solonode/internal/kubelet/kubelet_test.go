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
		SystemReserved: map[string]string{"memory": "64Mi"}, Machine: Machine{Memory: 1 << 30, Threads: 7700},
		CipherSuites: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
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
	if configuration.PodPidsLimit != 1925 || configuration.SystemReserved["memory"] != "64Mi" || configuration.SystemReserved["pid"] != "1000" {
		t.Errorf("pids %d, reserved %v", configuration.PodPidsLimit, configuration.SystemReserved)
	}
	if !configuration.SeccompDefault || !configuration.Authentication.Webhook.Enabled || configuration.Authorization.Mode != "Webhook" ||
		configuration.StreamingConnectionIdleTimeout.Duration == 0 ||
		configuration.EnableProfilingHandler || configuration.EnableDebugFlagsHandler || len(configuration.TLSCipherSuites) == 0 {
		t.Error("a setting of CIS Kubernetes 4.2 is not made; see docs/hardening.md")
	}
	if configuration.EnableControllerAttachDetach {
		t.Error("volumes wait for a controller that is off")
	}
}

func TestMachine(t *testing.T) {
	for _, tc := range []struct {
		machine Machine
		memory  string
		pid     string
		podPids int64
	}{
		{Machine{}, "", "", 1024},
		{Machine{Memory: 460 * mib, Threads: 3600}, "287Mi", "900", 900},
		{Machine{Memory: 960 * mib, Threads: 7600}, "512Mi", "1000", 1900},
		{Machine{Memory: 64 << 30, Threads: 500_000}, "512Mi", "1000", 4096},
		{Machine{Memory: 128 * mib, Threads: 100}, "80Mi", "25", 256},
	} {
		r := tc.machine.Reserve(nil)
		if r["memory"] != tc.memory || r["pid"] != tc.pid || tc.machine.PodPids() != tc.podPids {
			t.Errorf("%+v: reserved %v, pids %d", tc.machine, r, tc.machine.PodPids())
		}
	}
	if r := (Machine{Memory: 1 << 30}).Reserve(map[string]string{"memory": "1Gi", "cpu": "1"}); r["memory"] != "1Gi" || r["cpu"] != "1" {
		t.Errorf("the operator's values are lost: %v", r)
	}
	if m := ThisMachine(); m.Memory < 64*mib || m.Threads < 64 {
		t.Errorf("this machine: %+v", m)
	}
}
