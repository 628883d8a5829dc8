package main

import (
	"context"

	"kubesolo.io/os/internal/cgroup"
	"kubesolo.io/os/internal/sshd"
)

// serveSSH lets operators in whose keys are in the configuration.
func (a *agent) serveSSH(ctx context.Context) {
	groups, err := cgroup.Open(cgroup.Root)
	if err != nil {
		a.log.Warn("ssh: sessions without control groups", "err", err)
	}
	sshd.Run(ctx, sshd.Options{
		Address: ":22",
		Config:  "/run/ksinit/config.json",
		// Beside what ksinit keeps, so that an update does not change it.
		HostKey: "/data/ksinit/ssh_host_ed25519_key",
		Shell:   "/bin/sh",
		API:     "127.0.0.1:6443",
		Groups:  groups,
		Log:     a.log,
	})
}
