package node

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"kubesolo.io/os/solonode/internal/addons"
	"kubesolo.io/os/solonode/internal/apiserver"
	"kubesolo.io/os/solonode/internal/controllers"
	"kubesolo.io/os/solonode/internal/hostnet"
	"kubesolo.io/os/solonode/internal/kubelet"
	"kubesolo.io/os/solonode/internal/lifecycle"
	"kubesolo.io/os/solonode/internal/loadbalancer"
	"kubesolo.io/os/solonode/internal/options"
	"kubesolo.io/os/solonode/internal/proxy"
	"kubesolo.io/os/solonode/internal/scheduler"
	"kubesolo.io/os/solonode/internal/telemetry"
)

// stopBudget bounds the stop of all components together. ksinit sends a second
// TERM, a hurry, after 12 s and SIGKILL 4 s later; others may give the promised
// 20 s. The last second is for the end of the process.
const stopBudget = 11 * time.Second

// components are listed in the order of their start; they stop in reverse.
// The stop limits add up to more than stopBudget, as the many hardly ever hang
// together; what must have its time even then has a reserve.
func (n *node) components() []lifecycle.Component {
	list := append(n.controlPlane(), n.helpers()...)
	list = append(list, n.stateSocket())
	if !n.ControlPlaneOnly {
		list = append(list, n.hostComponents()...)
	}
	settle := lifecycle.Component{Name: "settle", Finite: true, Run: n.settle, StopTimeout: time.Second}
	for _, component := range list {
		if !component.Optional {
			settle.Needs = append(settle.Needs, component.Name)
		}
	}
	return append(list, settle, n.stateCopies(settle.Needs))
}

func (n *node) controlPlane() []lifecycle.Component {
	store := n.datastore()
	api := apiserver.Config{
		PKI: n.pki.Dir, DatastoreSock: store.Socket, Advertise: n.choice.Address.String(),
		Port: options.APIServerPort, ServiceCIDR: options.ServiceCIDR, ClusterDomain: options.ClusterDomain,
	}
	return []lifecycle.Component{
		{
			Name:        "datastore",
			Run:         func(ctx context.Context) error { return n.runDatastore(ctx, store) },
			Ready:       store.Ready,
			StopTimeout: stopBudget, // the last: all that is left
			// To end what its clients left open, and close the database.
			StopReserve: 4 * time.Second,
		},
		{
			Name: "apiserver", Needs: []string{"datastore"},
			Run:         func(ctx context.Context) error { return apiserver.Run(ctx, api) },
			Ready:       n.apiReady,
			StopTimeout: 6 * time.Second,
			StopReserve: 2 * time.Second, // for requests that are under way
		},
		{
			Name: "controllers", Needs: []string{"apiserver"},
			Run:         func(ctx context.Context) error { return controllers.Run(ctx, controllers.Config{PKI: n.pki.Dir}) },
			Ready:       func(ctx context.Context) error { return controllers.Ready(ctx, n.client) },
			StopTimeout: 3 * time.Second,
		},
		{
			Name: "scheduler", Needs: []string{"apiserver"},
			Run:         func(ctx context.Context) error { return scheduler.Run(ctx, scheduler.Config{PKI: n.pki.Dir}) },
			StopTimeout: 2 * time.Second,
		},
	}
}

// apiReady asks with the client of the controllers; the first answers are
// refused connections, then missing post-start hooks.
func (n *node) apiReady(ctx context.Context) error { return apiserver.Ready(ctx, n.client) }

func (n *node) helpers() []lifecycle.Component {
	addonConfig := addons.Config{
		DNSServiceIP: options.DNSServiceIP, ClusterDomain: options.ClusterDomain,
		LocalStorage: n.Options.LocalStorage, LocalPath: filepath.Join(n.Options.Path, "local-path-storage"),
		SharedPath: n.Options.LocalStorageSharedPath, Portainer: portainer(n.Options),
	}
	var applied atomic.Bool
	list := []lifecycle.Component{
		{
			Name: "addons", Needs: []string{"apiserver"},
			Run: func(ctx context.Context) error {
				return addons.Run(ctx, addons.Server{Client: n.dynamic}, addonConfig, resolvConf, n.Log, func() { applied.Store(true) })
			},
			Ready:       flagReady(&applied),
			StopTimeout: time.Second,
		},
		{Name: "renewal", Needs: []string{"apiserver"}, Run: n.renew, StopTimeout: time.Second},
	}
	if n.Options.LoadBalancer {
		address := n.choice.Address
		if n.Options.LoadBalancerIP.IsValid() {
			address = n.Options.LoadBalancerIP
		}
		list = append(list, lifecycle.Component{
			Name: "loadbalancer", Needs: []string{"apiserver"},
			Run: func(ctx context.Context) error {
				return loadbalancer.Run(ctx, n.client, address.String(), n.Log)
			},
			StopTimeout: time.Second,
		})
	}
	if n.Options.MetricsServer {
		list = append(list, lifecycle.Component{
			Name: "metrics", Optional: true, StopTimeout: time.Second,
			Run: func(ctx context.Context) error {
				return telemetry.Metrics(ctx, n.Options.MetricsAddress, n.apiReady)
			},
		})
	}
	if n.Options.Pprof {
		list = append(list, lifecycle.Component{
			Name: "profiles", Optional: true, StopTimeout: time.Second, Run: telemetry.Profiles,
		})
	}
	return list
}

func (n *node) hostComponents() []lifecycle.Component {
	kubeletConfig := kubelet.Config{
		PKI: n.pki.Dir, RootDir: filepath.Join(n.Options.Path, "kubelet"), NodeName: n.name, NodeIP: n.choice.Address.String(),
		RuntimeEndpoint: n.Options.RuntimeEndpoint, ResolvConf: resolvConf,
		ClusterDNS: options.DNSServiceIP, ClusterDomain: options.ClusterDomain,
		CPUManagerPolicy: n.Options.CPUManagerPolicy, CPUManagerOptions: n.Options.CPUManagerOptions,
		ReservedCPUs: n.Options.ReservedCPUs, SystemReserved: n.Options.SystemReserved,
		Machine: kubelet.ThisMachine(), CipherSuites: apiserver.CipherSuites(),
	}
	proxyConfig := proxy.Config{PKI: n.pki.Dir, NodeName: n.name, PodCIDR: options.PodCIDR}
	var masqueraded atomic.Bool
	return []lifecycle.Component{
		{
			Name: "masquerade",
			Run: func(ctx context.Context) error {
				return hostnet.Masquerade(ctx, options.PodCIDR, func() { masqueraded.Store(true) })
			},
			Ready:       flagReady(&masqueraded),
			StopTimeout: time.Second,
		},
		{Name: "runtime", Finite: true, Run: n.awaitRuntime, StopTimeout: time.Second},
		{
			Name: "kubelet", Needs: []string{"apiserver", "runtime"},
			Run: func(ctx context.Context) error { return kubelet.Run(ctx, kubeletConfig) },
			Ready: func(ctx context.Context) error {
				return kubelet.Registered(ctx, n.client, n.name, kubeletConfig.NodeIP)
			},
			StopTimeout: 2 * time.Second,
		},
		{
			Name: "proxy", Needs: []string{"kubelet"},
			Run:         func(ctx context.Context) error { return proxy.Run(ctx, proxyConfig) },
			Ready:       proxy.Ready,
			StopTimeout: time.Second,
		},
		{
			Name: "node", Needs: []string{"kubelet"}, Finite: true, StopTimeout: time.Second,
			Run: n.awaitNode,
		},
	}
}

// awaitRuntime waits until the runtime's socket accepts: the kubelet ends the
// process when its first CRI call is refused.
func (n *node) awaitRuntime(ctx context.Context) error {
	path := strings.TrimPrefix(n.Options.RuntimeEndpoint, "unix://")
	return poll(ctx, n.Options.StartupTimeout, func(ctx context.Context) error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err != nil {
			return fmt.Errorf("container runtime: %w", err)
		}
		return conn.Close()
	})
}

func (n *node) awaitNode(ctx context.Context) error {
	return poll(ctx, n.Options.StartupTimeout, func(ctx context.Context) error {
		return kubelet.Ready(ctx, n.client, n.name, n.begin)
	})
}

// poll calls check until it succeeds, ctx ends (nil) or limit is over.
func poll(ctx context.Context, limit time.Duration, check func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(pause*3/2, 500*time.Millisecond) {
		err := check(limited)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-limited.Done():
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("not ready after %s: %w", limit, err)
		}
	}
}

func flagReady(flag *atomic.Bool) func(context.Context) error {
	return func(context.Context) error {
		if flag.Load() {
			return nil
		}
		return fmt.Errorf("not done yet")
	}
}

// socket is kept off the data partition: a file system of the host may not
// know sockets, and its path must stay short.
func (n *node) socket(name string) string {
	if n.ControlPlaneOnly {
		return filepath.Join(n.Options.Path, "kine", name)
	}
	return filepath.Join(socketDir, name)
}
