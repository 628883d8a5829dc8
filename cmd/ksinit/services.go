package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cgroup"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/supervise"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	logDir           = "/var/log"
	agentPath        = "/usr/local/bin/ksagent"
)

// baseEnv is what every service gets; nothing of PID 1's own environment is
// passed on, where unknown kernel arguments such as GOGC=30 end up.
func baseEnv() []string {
	return []string{"HOME=/root", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
}

// engineFile names the program that is installed as kubesolo.
const engineFile = "/etc/kubesolo-os/engine"

// engineWaits tells whether kubesolo itself waits for the runtime's socket, so
// that its API server starts beside containerd (2.6 s under emulation). KubeSolo
// v1.2.0 waits too, but looks only every 5 s: it is started when there is
// something to see.
func engineWaits() bool {
	name, err := os.ReadFile(engineFile)
	return err == nil && strings.TrimSpace(string(name)) == "solonode"
}

// services are the programs of a node, in the order in which they start.
func services(runtime config.Runtime, engineWaits bool, kubesoloEnv []string) []supervise.Service {
	containerd := supervise.Service{
		Name:  "containerd",
		Argv:  []string{"/usr/local/bin/containerd", "--config", "/etc/containerd/config.toml"},
		Env:   baseEnv(),
		Ready: supervise.Probe{Network: "unix", Address: containerdSocket},
		Live:  supervise.Liveness{Protocol: supervise.HTTP2},
		// Its shims live in its group and carry the pods.
		Stop:        supervise.StopPolicy{Grace: 5 * time.Second, Again: 2 * time.Second, KeepChildren: true},
		Limits:      cgroup.Limits{MemoryMin: 32 << 20, CPUWeight: 200},
		OOMScoreAdj: -999,
		Rights:      runtimeRights(),
	}
	kubesolo := supervise.Service{
		Name:         "kubesolo",
		Argv:         []string{"/usr/local/bin/kubesolo"},
		Env:          kubesoloEnv,
		Needs:        []string{"containerd"},
		Ready:        supervise.Probe{Network: "tcp", Address: "127.0.0.1:6443"},
		ReadyTimeout: 5 * time.Minute,
		Live:         supervise.Liveness{Protocol: supervise.TLS},
		Restart:      supervise.RestartPolicy{Min: time.Second, Max: 30 * time.Second},
		// KubeSolo v1.2.0 does not always end at the first SIGTERM.
		Stop:        supervise.StopPolicy{Grace: 12 * time.Second, Again: 4 * time.Second},
		Limits:      cgroup.Limits{MemoryMin: 128 << 20, CPUWeight: 200},
		OOMScoreAdj: -990,
		Rights:      engineRights(),
	}
	agent := supervise.Service{
		Name:  "ksagent",
		Argv:  []string{agentPath, "run"},
		Env:   baseEnv(),
		Needs: []string{"containerd"},
		// One comes with each observation, at the latest 20 s after the last.
		Live:        supervise.Liveness{Protocol: supervise.Heartbeat, Every: 30 * time.Second},
		Restart:     supervise.RestartPolicy{Min: time.Second, Max: 30 * time.Second},
		Stop:        supervise.StopPolicy{Grace: 4 * time.Second, Again: 2 * time.Second},
		Limits:      cgroup.Limits{MemoryMin: 8 << 20},
		OOMScoreAdj: -980,
		Rights:      agentRights(),
	}
	if engineWaits {
		kubesolo.Needs = nil
	}
	if runtime == config.RuntimeBundled {
		kubesolo.Needs = nil
		kubesolo.Stop.KeepChildren = true // the shims are its children now
		kubesolo.Rights = runtimeRights() // and pods inherit what it has
		agent.Needs = []string{"kubesolo"}
		return []supervise.Service{kubesolo, agent}
	}
	return []supervise.Service{containerd, kubesolo, agent}
}

// throughProxy gives the variables of proxies to the services that have none of
// KubeSolo's, whose environment is whole.
func throughProxy(list []supervise.Service, env []string) {
	for i := range list {
		if list[i].Name != "kubesolo" {
			list[i].Env = append(list[i].Env, env...)
		}
	}
}

func (n *node) startServices(ctx context.Context) error {
	list := services(n.config.KubeSolo.Runtime, engineWaits(), config.KubeSoloEnv(n.config, n.nodeIP))
	throughProxy(list, config.ProxyEnv(n.config.Proxy, n.nodeIP))
	supervisor, err := supervise.Start(n.host(), n, list...)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.supervisor = supervisor
	n.mu.Unlock()
	var missing []error
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
		if _, err := os.Stat(s.Argv[0]); err != nil {
			missing = append(missing, errors.New("service "+s.Name+": "+s.Argv[0]+" is not in this image: rebuild the image with it"))
		}
	}
	boot.Note(ctx, "%s", strings.Join(names, ", "))
	return boot.Degraded(errors.Join(missing...))
}

func (n *node) host() supervise.Host {
	return supervise.Host{Reaper: n.reaper, Groups: n.groups, LogDir: logDir, Log: n.log}
}
