// Package kubelet runs upstream's kubelet inside the process against an
// external container runtime.
//
// It owns the kubelet's configuration (Configuration, pure apart from
// upstream's defaults). The settings serve a node that turns Ready at once,
// needs little memory, and lives in a root file system that is read-only.
package kubelet

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
)

// Config is what differs between nodes.
type Config struct {
	PKI               string // directory
	RootDir           string // must be on a file system cAdvisor knows: ext4, xfs, tmpfs, overlay
	NodeName          string
	NodeIP            string
	RuntimeEndpoint   string
	ResolvConf        string
	ClusterDNS        string
	ClusterDomain     string
	CPUManagerPolicy  string
	CPUManagerOptions map[string]string
	ReservedCPUs      string
	SystemReserved    map[string]string
	Machine           Machine
	CipherSuites      []string // of TLS 1.2; empty: Go's
}

// Configuration is the kubelet's configuration file as an object.
func (cfg Config) Configuration() (*kubeletconfig.KubeletConfiguration, error) {
	c, err := options.NewKubeletConfiguration()
	if err != nil {
		return nil, err
	}
	c.ContainerRuntimeEndpoint = cfg.RuntimeEndpoint
	c.TLSCertFile = filepath.Join(cfg.PKI, "kubelet", "kubelet.crt")
	c.TLSPrivateKeyFile = filepath.Join(cfg.PKI, "kubelet", "kubelet.key")
	c.Authentication.X509.ClientCAFile = filepath.Join(cfg.PKI, "ca", "ca.crt")
	c.Authentication.Anonymous.Enabled = false
	c.Authentication.Webhook.Enabled = true
	c.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook
	c.ReadOnlyPort = 0
	c.TLSMinVersion = "VersionTLS12"
	c.TLSCipherSuites = cfg.CipherSuites
	// A stream of exec or port-forward that nobody uses is closed.
	c.StreamingConnectionIdleTimeout = metav1.Duration{Duration: time.Hour}
	// A fork bomb ends in its pod: kernel.pid_max is for all of them.
	c.ClusterDomain = cfg.ClusterDomain
	c.ClusterDNS = []string{cfg.ClusterDNS}
	c.ResolverConfig = cfg.ResolvConf
	c.VolumePluginDir = filepath.Join(cfg.RootDir, "volumeplugins")
	c.CgroupDriver = "cgroupfs" // the runtime's answer wins
	c.FailSwapOn = false
	c.SeccompDefault = true
	c.MaxPods = 110
	c.SerializeImagePulls = true
	// The kubelet's own chains are for iptables hosts, and it looks for the
	// iptables program to make them.
	c.MakeIPTablesUtilChains = false
	// The controller that would do it is off, see package controllers.
	c.EnableControllerAttachDetach = false
	c.EnableProfilingHandler = false
	c.EnableDebugFlagsHandler = false
	c.EnableSystemLogHandler = false
	c.ContainerLogMaxSize = "5Mi"
	c.ContainerLogMaxFiles = 2
	c.ImageGCHighThresholdPercent = 85
	c.ImageGCLowThresholdPercent = 80
	// Upstream's share of 10 to 15 % of the disk is for servers; a small disk
	// holds the images that were shipped with it.
	c.EvictionHard = map[string]string{
		"memory.available":   "50Mi",
		"nodefs.available":   "5%",
		"nodefs.inodesFree":  "5%",
		"imagefs.available":  "5%",
		"imagefs.inodesFree": "5%",
	}
	c.KubeAPIQPS = 100
	c.KubeAPIBurst = 200
	c.NodeStatusUpdateFrequency = metav1.Duration{Duration: 10 * time.Second}
	c.NodeStatusReportFrequency = metav1.Duration{Duration: 5 * time.Minute}
	c.VolumeStatsAggPeriod = metav1.Duration{Duration: 5 * time.Minute}
	c.CPUManagerPolicy = cfg.CPUManagerPolicy
	c.CPUManagerPolicyOptions = cfg.CPUManagerOptions
	c.ReservedSystemCPUs = cfg.ReservedCPUs
	c.SystemReserved = cfg.Machine.Reserve(cfg.SystemReserved)
	c.PodPidsLimit = cfg.Machine.PodPids()
	return c, nil
}

// Run works until ctx ends. Pods run on: the kubelet does not stop them.
func Run(ctx context.Context, cfg Config) error {
	configuration, err := cfg.Configuration()
	if err != nil {
		return fmt.Errorf("kubelet configuration: %w", err)
	}
	flags := options.NewKubeletFlags()
	flags.KubeConfig = filepath.Join(cfg.PKI, "kubelet", "kubelet.kubeconfig")
	flags.CertDirectory = filepath.Join(cfg.PKI, "kubelet")
	flags.RootDirectory = cfg.RootDir
	flags.HostnameOverride = cfg.NodeName
	flags.NodeIP = cfg.NodeIP
	server := &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *configuration}
	if err := options.ValidateKubeletServer(server); err != nil {
		return fmt.Errorf("kubelet configuration: %w", err)
	}
	dependencies, err := app.UnsecuredDependencies(ctx, server, utilfeature.DefaultFeatureGate)
	if err != nil {
		return fmt.Errorf("kubelet dependencies: %w", err)
	}
	return app.Run(ctx, server, dependencies, utilfeature.DefaultFeatureGate)
}

// Registered holds when the Node object has its address: kube-proxy needs it.
func Registered(ctx context.Context, client kubernetes.Interface, nodeName, nodeIP string) error {
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP && address.Address == nodeIP {
			return nil
		}
	}
	return fmt.Errorf("node %s has no address %s yet", nodeName, nodeIP)
}

// Ready holds when the node's Ready condition is true and was renewed after
// begin: the object of the previous boot also says Ready.
func Ready(ctx context.Context, client kubernetes.Interface, nodeName string, begin time.Time) error {
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status == corev1.ConditionTrue && !condition.LastHeartbeatTime.Time.Before(begin.Truncate(time.Second)) {
			return nil
		}
		return fmt.Errorf("node %s: %s", nodeName, condition.Message)
	}
	return fmt.Errorf("node %s has no Ready condition yet", nodeName)
}
