// Package proxy runs upstream's kube-proxy inside the process in nftables
// mode. It needs the nft program and the kernel's nf_tables in the families ip
// and ip6, and it waits for the Node object to have an address.
//
// When the address of the Node changes, upstream ends the whole process on
// purpose; the supervisor starts it again with the new address.
package proxy

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/spf13/pflag"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
)

// healthAddress is where upstream serves its health check; load balancers
// expect it on all addresses.
const healthAddress = "0.0.0.0:10256"

// Config is what differs between nodes.
type Config struct {
	PKI      string // directory
	NodeName string
	PodCIDR  string
}

// Args are kube-proxy's flags.
func (cfg Config) Args() []string {
	return []string{
		"--kubeconfig=" + filepath.Join(cfg.PKI, "kube-proxy", "kube-proxy.kubeconfig"),
		"--hostname-override=" + cfg.NodeName,
		"--proxy-mode=nftables",
		"--cluster-cidr=" + cfg.PodCIDR,
		"--detect-local-mode=ClusterCIDR",
		"--healthz-bind-address=" + healthAddress,
		"--metrics-bind-address=127.0.0.1:10249",
		"--profiling=false",
	}
}

// Run works until ctx ends. Upstream's loops have no end of their own: they are
// left to the end of the process, and their rules stay in the kernel, so that
// Services work on while the process is replaced.
func Run(ctx context.Context, cfg Config) error {
	proxyOptions := app.NewOptions()
	flags := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	proxyOptions.AddFlags(flags)
	if err := flags.Parse(cfg.Args()); err != nil {
		return fmt.Errorf("proxy flags: %w", err)
	}
	if err := proxyOptions.Complete(flags); err != nil {
		return fmt.Errorf("proxy options: %w", err)
	}
	if err := proxyOptions.Validate(); err != nil {
		return fmt.Errorf("proxy options: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- proxyOptions.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil
	}
}

// Ready asks the health check, which turns good with the first complete set of
// rules in the kernel.
func Ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10256/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("proxy health: status %d", response.StatusCode)
	}
	return nil
}
