package main

import (
	"context"
	"fmt"
	"time"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/netcfg/manager"
)

// networkWait is how long the node waits for a network before it starts
// without one.
const networkWait = 30 * time.Second

// startNetwork configures the network from now on and waits for an address.
func (n *node) startNetwork(ctx context.Context) error {
	last := ""
	tellServers := leaseServers(ntpFile)
	m, err := manager.New(manager.Options{
		Config: n.config.Network, Hostname: n.config.Hostname, NodeIP: n.config.KubeSolo.NodeIP,
		NodeIPPath: "/var/lib/network/node-ip", LeaseDir: "/var/lib/network/leases",
		TrialPath:  "/var/lib/network/trial.json",
		ResolvPath: "/run/etc/resolv.conf", HostsPath: "/run/etc/hosts",
		LoadModule: func(name, params string) error {
			tree, err := n.modules()
			if err != nil {
				return err
			}
			return tree.Load(name, params)
		},
		Log: n.log.With("step", "network"),
		Notify: func(s manager.Status) {
			if text := s.String(); text != last {
				n.log.Info("network", "status", text)
				last = text
			}
			if err := tellServers(s.NTP); err != nil {
				n.log.Warn("time servers of the lease are not used", "err", err)
			}
		},
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	n.background("network", func() {
		defer close(ended)
		m.Run(running)
	})
	n.mu.Lock()
	n.network = m
	n.stopNet = func() {
		cancel()
		<-ended
	}
	n.mu.Unlock()
	wait, cancelWait := context.WithTimeout(ctx, networkWait)
	defer cancelWait()
	status, err := m.WaitReady(wait)
	n.nodeIP = status.NodeIP
	boot.Note(ctx, "%v", status)
	if err != nil {
		return boot.Degraded(err)
	}
	for _, w := range status.Warnings {
		err = fmt.Errorf("%s", w)
		n.log.Warn(w, "step", "network")
	}
	return boot.Degraded(err)
}
