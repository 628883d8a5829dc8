// Package controllers runs upstream's kube-controller-manager inside the
// process, without its HTTP server and without leader election.
//
// It owns the flags and the list of controllers that make no sense on one
// node. All controllers share one client with full rights: separate service
// accounts would isolate them only if they were separate processes, and cost a
// connection and a token for each.
package controllers

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
)

// Config is what differs between nodes.
type Config struct {
	PKI string // directory
}

// disabled names the controllers that are not started, each with what it is for.
func disabled() []string {
	return []string{
		"node-ipam-controller", // clusters with a pod range per node; ours is host-local's
		"ttl-controller",       // kubelets of large clusters
		"legacy-serviceaccount-token-cleaner-controller", // clusters older than 1.24
		"storageversion-garbage-collector-controller",    // several API servers
		"storage-version-migrator-controller",            // several API servers
		"device-taint-eviction-controller",               // dynamic resource drivers
		"resourcepoolstatusrequest-controller",           // dynamic resource drivers
		"selinux-warning-controller",                     // SELinux hosts
		// Writes warnings about the types in an admission policy into its
		// status. It keeps schemas of all types for that (5 MB); the policies
		// themselves are in force without it.
		"validatingadmissionpolicy-status-controller",
		// Its CSI plugin and the kubelet's share a package variable, and the
		// last of the two to start wins: with the controller's, which has no
		// node name, the node stayed NotReady. The kubelet attaches instead.
		"persistentvolume-attach-detach-controller",
		"podcertificaterequest-cleaner-controller",                       // an API that is off
		"kube-apiserver-serving-clustertrustbundle-publisher-controller", // an API that is off
	}
}

// Args are the controller manager's flags.
func (cfg Config) Args() []string {
	file := func(parts ...string) string { return filepath.Join(append([]string{cfg.PKI}, parts...)...) }
	return []string{
		"--kubeconfig=" + file("controller-manager", "controller-manager.kubeconfig"),
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--allocate-node-cidrs=false",
		"--use-service-account-credentials=false",
		"--controllers=*,-" + strings.Join(disabled(), ",-"),
		"--service-account-private-key-file=" + file("apiserver", "service-account.key"),
		"--root-ca-file=" + file("ca", "ca.crt"),
		"--cluster-signing-cert-file=" + file("ca", "ca.crt"),
		"--cluster-signing-key-file=" + file("ca", "ca.key"),
		// The default of 20 requests per second makes the first minute of a
		// node a queue; there is no other client to be protected from.
		"--kube-api-qps=200",
		"--kube-api-burst=300",
		"--min-resync-period=12h",
		"--terminated-pod-gc-threshold=100",
		"--concurrent-deployment-syncs=2",
		"--concurrent-endpoint-syncs=2",
		"--concurrent-service-endpoint-syncs=2",
		"--concurrent-gc-syncs=5",
		"--concurrent-namespace-syncs=3",
		"--concurrent-replicaset-syncs=2",
		"--concurrent-resource-quota-syncs=2",
	}
}

// Run works until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	managerOptions, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("controller manager options: %w", err)
	}
	known, off, aliases := app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases()
	flags := pflag.NewFlagSet("kube-controller-manager", pflag.ContinueOnError)
	for _, set := range managerOptions.Flags(known, off, aliases).FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(cfg.Args()); err != nil {
		return fmt.Errorf("controller manager flags: %w", err)
	}
	config, err := managerOptions.Config(ctx, known, off, aliases)
	if err != nil {
		return fmt.Errorf("controller manager configuration: %w", err)
	}
	return app.Run(ctx, config.Complete())
}

// Ready holds when the service account controller has done its work for the
// default namespace, without which no pod can be created there.
func Ready(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
	return err
}
