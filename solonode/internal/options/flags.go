package options

import (
	"time"

	"github.com/spf13/pflag"
)

// setting ties a flag to its environment variable. ignored says why a flag is
// accepted and not used.
type setting struct {
	flag, env, ignored string
}

const noD2K = "this build has no Docker API bridge"

// settings lists every flag with its environment variable.
func settings() []setting {
	return []setting{
		{flag: "path", env: "KUBESOLO_PATH"},
		{flag: "apiserver-extra-sans", env: "KUBESOLO_APISERVER_EXTRA_SANS"},
		{flag: "startup-timeout", env: "KUBESOLO_STARTUP_TIMEOUT"},
		{flag: "node-ip", env: "KUBESOLO_NODE_IP"},
		{flag: "node-name", env: "KUBESOLO_NODE_NAME"},
		{flag: "mtu", env: "KUBESOLO_MTU"},
		{flag: "disable-ipv6", env: "KUBESOLO_DISABLE_IPV6"},
		{flag: "load-balancer", env: "KUBESOLO_LOAD_BALANCER"},
		{flag: "load-balancer-ip", env: "KUBESOLO_LOAD_BALANCER_IP"},
		{flag: "container-runtime-endpoint", env: "KUBESOLO_CONTAINER_RUNTIME_ENDPOINT"},
		{flag: "container-mode", env: "KUBESOLO_CONTAINER_MODE", ignored: "this build runs on a host, never inside a container"},
		{flag: "local-storage", env: "KUBESOLO_LOCAL_STORAGE"},
		{flag: "local-storage-shared-path", env: "KUBESOLO_LOCAL_STORAGE_SHARED_PATH"},
		{flag: "db-wal-repair", env: "KUBESOLO_DB_WAL_REPAIR", ignored: "a damaged database is always repaired, see kubesolo state"},
		{flag: "state-copies", env: "KUBESOLO_STATE_COPIES"},
		{flag: "state-copy-every", env: "KUBESOLO_STATE_COPY_EVERY"},
		{flag: "state-copies-keep", env: "KUBESOLO_STATE_COPIES_KEEP"},
		{flag: "cpu-manager-policy", env: "KUBESOLO_CPU_MANAGER_POLICY"},
		{flag: "cpu-manager-policy-options", env: "KUBESOLO_CPU_MANAGER_POLICY_OPTIONS"},
		{flag: "reserved-cpus", env: "KUBESOLO_RESERVED_CPUS"},
		{flag: "system-reserved", env: "KUBESOLO_SYSTEM_RESERVED"},
		{flag: "metrics-server", env: "KUBESOLO_METRICS_SERVER"},
		{flag: "metrics-bind-address", env: "KUBESOLO_METRICS_BIND_ADDRESS"},
		{flag: "portainer-edge-id", env: "KUBESOLO_PORTAINER_EDGE_ID"},
		{flag: "portainer-edge-key", env: "KUBESOLO_PORTAINER_EDGE_KEY"},
		{flag: "portainer-edge-async", env: "KUBESOLO_PORTAINER_EDGE_ASYNC"},
		{flag: "portainer-edge-image", env: "KUBESOLO_PORTAINER_EDGE_IMAGE"},
		{flag: "d2k", env: "KUBESOLO_D2K", ignored: noD2K},
		{flag: "d2k-namespace", env: "KUBESOLO_D2K_NAMESPACE", ignored: noD2K},
		{flag: "debug", env: "KUBESOLO_DEBUG"},
		{flag: "pprof-server", env: "KUBESOLO_PPROF_SERVER"},
		{flag: "full", env: "KUBESOLO_FULL", ignored: "deprecated upstream, a no-op"},
	}
}

// rawOptions holds the values as written, before the checks of resolve.
type rawOptions struct {
	Options
	startupSeconds    int
	extraSANs         string
	nodeIP            string
	loadBalancerIP    string
	cpuManagerOptions string
	systemReserved    string
	version           bool
	unused            string
	unusedBool        bool
	given             map[string]string // flag -> where it was given
}

func newRaw() *rawOptions { return &rawOptions{given: map[string]string{}} }

func (raw *rawOptions) flags() *pflag.FlagSet {
	fs := pflag.NewFlagSet("kubesolo", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.StringVar(&raw.Path, "path", "/var/lib/kubesolo", "state directory")
	fs.StringVar(&raw.extraSANs, "apiserver-extra-sans", "", "comma-separated names and addresses for the API server's certificate")
	fs.IntVar(&raw.startupSeconds, "startup-timeout", 600, "seconds a component may take to become ready")
	fs.StringVar(&raw.nodeIP, "node-ip", "", "IPv4 address of the node (default: that of the default route)")
	fs.StringVar(&raw.NodeName, "node-name", "", "name of the Node object (default: host name)")
	fs.IntVar(&raw.MTU, "mtu", 0, "MTU of the pod network (0: that of the default route)")
	fs.BoolVar(&raw.DisableIPv6, "disable-ipv6", false, "turn IPv6 off on all links")
	fs.BoolVar(&raw.LoadBalancer, "load-balancer", true, "give Services of type LoadBalancer the node's address")
	fs.StringVar(&raw.loadBalancerIP, "load-balancer-ip", "", "address for Services of type LoadBalancer (default: the node's)")
	fs.StringVar(&raw.RuntimeEndpoint, "container-runtime-endpoint", "unix:///run/containerd/containerd.sock", "CRI socket of the container runtime")
	fs.BoolVar(&raw.LocalStorage, "local-storage", true, "deploy the local-path storage provisioner")
	fs.StringVar(&raw.LocalStorageSharedPath, "local-storage-shared-path", "", "shared file system for the local-path provisioner")
	fs.StringVar(&raw.StateCopies, "state-copies", "/data/kubesolo-copies", "directory for copies of the database (empty: no copies)")
	fs.DurationVar(&raw.StateCopyEvery, "state-copy-every", 6*time.Hour, "time between copies (0: only when asked)")
	fs.IntVar(&raw.StateCopiesKeep, "state-copies-keep", 4, "number of copies that are kept")
	fs.StringVar(&raw.CPUManagerPolicy, "cpu-manager-policy", "none", "kubelet CPU manager policy: none or static")
	fs.StringVar(&raw.cpuManagerOptions, "cpu-manager-policy-options", "", "comma-separated key=value options of the policy")
	fs.StringVar(&raw.ReservedCPUs, "reserved-cpus", "", "CPU list kept from pods")
	fs.StringVar(&raw.systemReserved, "system-reserved", "", "comma-separated resource=quantity kept from pods")
	fs.BoolVar(&raw.MetricsServer, "metrics-server", false, "serve /metrics, /healthz, /livez and /readyz")
	fs.StringVar(&raw.MetricsAddress, "metrics-bind-address", "127.0.0.1:9105", "address of the metrics server")
	fs.StringVar((*string)(&raw.PortainerEdgeID), "portainer-edge-id", "", "Edge ID of this node in Portainer; with the key, Portainer's agent is deployed")
	fs.StringVar((*string)(&raw.PortainerEdgeKey), "portainer-edge-key", "", "Edge key that Portainer gave out (other programs can read it here: the variable is better)")
	fs.BoolVar(&raw.PortainerEdgeAsync, "portainer-edge-async", false, "the agent asks from time to time and keeps no tunnel")
	fs.StringVar(&raw.PortainerEdgeImage, "portainer-edge-image", "", "image of the agent (default: docker.io/portainer/agent:lts)")
	fs.BoolVar(&raw.Debug, "debug", false, "log more")
	fs.BoolVar(&raw.Pprof, "pprof-server", false, "serve profiles on 127.0.0.1:6060")
	fs.BoolVar(&raw.version, "version", false, "print the version and exit")
	for _, setting := range settings() {
		switch setting.flag {
		case "db-wal-repair", "container-mode", "d2k", "full":
			fs.BoolVar(&raw.unusedBool, setting.flag, false, "no effect: "+setting.ignored)
		case "d2k-namespace":
			fs.StringVar(&raw.unused, setting.flag, "", "no effect: "+setting.ignored)
		}
		if flag := fs.Lookup(setting.flag); setting.env != "" {
			flag.Usage += " [" + setting.env + "]"
		}
	}
	addNegations(fs)
	return fs
}

// addNegations gives every boolean --x a hidden --no-x, as upstream's flag
// parser does.
func addNegations(fs *pflag.FlagSet) {
	var booleans []*pflag.Flag
	fs.VisitAll(func(flag *pflag.Flag) {
		if flag.Value.Type() == "bool" {
			booleans = append(booleans, flag)
		}
	})
	for _, flag := range booleans {
		fs.BoolFunc("no-"+flag.Name, "", func(string) error { return flag.Value.Set("false") })
		fs.Lookup("no-" + flag.Name).Hidden = true
	}
}
