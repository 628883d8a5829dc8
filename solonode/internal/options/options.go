package options

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Constants of a KubeSolo cluster. They are not configurable: hosts keep
// their LANs out of these ranges.
const (
	PodCIDR       = "10.42.0.0/16"
	ServiceCIDR   = "10.43.0.0/16"
	ServiceIP     = "10.43.0.1"
	DNSServiceIP  = "10.43.0.10"
	ClusterDomain = "cluster.local"
	APIServerPort = 6443
)

// ErrHelp and ErrVersion report that the caller asked for a text instead of a
// node.
var (
	ErrHelp    = errors.New("help requested")
	ErrVersion = errors.New("version requested")
)

// Options is everything that can be set from outside.
type Options struct {
	Path                   string        // state directory, absolute
	ExtraSANs              []string      // more names and addresses in the API server's certificate
	StartupTimeout         time.Duration // limit for each component to become ready
	NodeIP                 netip.Addr    // invalid: choose
	NodeName               string        // "": host name
	MTU                    int           // of the pod network; 0: that of the uplink
	DisableIPv6            bool
	LoadBalancer           bool          // give Services of type LoadBalancer the node's address
	LoadBalancerIP         netip.Addr    // invalid: the node's
	RuntimeEndpoint        string        // unix:///absolute/path
	LocalStorage           bool          // deploy the local-path provisioner
	LocalStorageSharedPath string        // shared file system for it; "": node path
	StateCopies            string        // directory for copies of the database; "": none
	StateCopyEvery         time.Duration // 0: only when asked
	StateCopiesKeep        int
	CPUManagerPolicy       string
	CPUManagerOptions      map[string]string
	ReservedCPUs           string
	SystemReserved         map[string]string
	MetricsServer          bool
	MetricsAddress         string
	PortainerEdgeID        Secret // as hidden by the host's own tools
	PortainerEdgeKey       Secret
	PortainerEdgeAsync     bool
	PortainerEdgeImage     string // "": the default one
	Debug                  bool
	Pprof                  bool

	// Notices are one-line remarks about accepted settings that have no
	// effect here, to be logged once.
	Notices []string
}

// Parse reads args (without the program name) over the environment lookup.
func Parse(args []string, getenv func(string) string) (Options, error) {
	raw := newRaw()
	flags := raw.flags()
	for _, setting := range settings() {
		value := getenv(setting.env)
		if setting.env == "" || value == "" {
			continue
		}
		flag := flags.Lookup(setting.flag)
		if err := flag.Value.Set(value); err != nil {
			return Options{}, fmt.Errorf("environment variable %s=%q: %w", setting.env, value, err)
		}
		raw.given[setting.flag] = "environment variable " + setting.env
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return Options{}, ErrHelp
		}
		return Options{}, fmt.Errorf("%w (kubesolo --help lists the flags)", err)
	}
	if flags.NArg() > 0 {
		return Options{}, fmt.Errorf("unexpected argument %q: kubesolo takes flags only", flags.Arg(0))
	}
	if raw.version {
		return Options{}, ErrVersion
	}
	flags.Visit(func(flag *pflag.Flag) { raw.given[strings.TrimPrefix(flag.Name, "no-")] = "flag --" + flag.Name })
	return raw.resolve()
}

// Usage is the text of --help.
func Usage() string {
	var text strings.Builder
	text.WriteString("kubesolo runs a complete single-node Kubernetes in one process.\n\nUsage:\n  kubesolo [flags]\n\nFlags (environment variable in brackets):\n")
	text.WriteString(newRaw().flags().FlagUsages())
	return text.String()
}

func (raw *rawOptions) resolve() (Options, error) {
	opts := raw.Options
	if !filepath.IsAbs(opts.Path) {
		return Options{}, fmt.Errorf("--path %q is not an absolute path", opts.Path)
	}
	if raw.startupSeconds <= 0 {
		return Options{}, fmt.Errorf("--startup-timeout %d: want a positive number of seconds", raw.startupSeconds)
	}
	opts.StartupTimeout = time.Duration(raw.startupSeconds) * time.Second
	if opts.MTU != 0 && (opts.MTU < 576 || opts.MTU > 65535) {
		return Options{}, fmt.Errorf("--mtu %d: want 0 (automatic) or 576 to 65535", opts.MTU)
	}
	opts.ExtraSANs = cleanList(raw.extraSANs)
	if raw.nodeIP != "" {
		addr, err := netip.ParseAddr(raw.nodeIP)
		if err != nil || !addr.Is4() || addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() {
			opts.Notices = append(opts.Notices, fmt.Sprintf("node IP %q is not a usable IPv4 address, choosing one", raw.nodeIP))
		} else {
			opts.NodeIP = addr
		}
	}
	if raw.loadBalancerIP != "" {
		addr, err := netip.ParseAddr(raw.loadBalancerIP)
		if err != nil || !addr.Is4() {
			return Options{}, fmt.Errorf("--load-balancer-ip %q is not an IPv4 address", raw.loadBalancerIP)
		}
		opts.LoadBalancerIP = addr
	}
	if opts.StateCopies != "" && !filepath.IsAbs(opts.StateCopies) {
		return Options{}, fmt.Errorf("--state-copies %q is not an absolute path", opts.StateCopies)
	}
	if opts.StateCopyEvery < 0 || opts.StateCopyEvery > 0 && opts.StateCopyEvery < time.Minute {
		return Options{}, fmt.Errorf("--state-copy-every %s: want 0 (only when asked) or at least 1m", opts.StateCopyEvery)
	}
	if opts.StateCopiesKeep < 1 || opts.StateCopiesKeep > 100 {
		return Options{}, fmt.Errorf("--state-copies-keep %d: want 1 to 100", opts.StateCopiesKeep)
	}
	endpoint, err := runtimeEndpoint(raw.RuntimeEndpoint)
	if err != nil {
		return Options{}, err
	}
	opts.RuntimeEndpoint = endpoint
	if opts.CPUManagerOptions, err = keyValues("--cpu-manager-policy-options", raw.cpuManagerOptions); err != nil {
		return Options{}, err
	}
	if opts.SystemReserved, err = keyValues("--system-reserved", raw.systemReserved); err != nil {
		return Options{}, err
	}
	opts.PortainerEdgeID = Secret(strings.TrimSpace(raw.PortainerEdgeID.Reveal()))
	opts.PortainerEdgeKey = Secret(strings.TrimSpace(raw.PortainerEdgeKey.Reveal()))
	opts.PortainerEdgeImage = strings.TrimSpace(raw.PortainerEdgeImage)
	if (opts.PortainerEdgeID == "") != (opts.PortainerEdgeKey == "") {
		// As upstream, no reason to be without a cluster. The host refuses
		// such a pair where it can still be put right.
		opts.Notices = append(opts.Notices, "Portainer agent: the Edge ID and the Edge key go together, set both or none; an agent that is there is left as it is")
	}
	for _, setting := range settings() {
		origin, given := raw.given[setting.flag]
		if given && setting.ignored != "" {
			opts.Notices = append(opts.Notices, fmt.Sprintf("%s has no effect: %s", origin, setting.ignored))
		}
	}
	return opts, nil
}

// runtimeEndpoint accepts unix:///absolute/path and /absolute/path.
func runtimeEndpoint(value string) (string, error) {
	path := strings.TrimPrefix(value, "unix://")
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("--container-runtime-endpoint %q: want unix:///absolute/path", value)
	}
	return "unix://" + path, nil
}

func cleanList(value string) []string {
	var list []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func keyValues(flag, value string) (map[string]string, error) {
	pairs := cleanList(value)
	if len(pairs) == 0 {
		return nil, nil
	}
	result := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, val, found := strings.Cut(pair, "=")
		if !found || key == "" || val == "" {
			return nil, fmt.Errorf("%s: %q is not key=value", flag, pair)
		}
		result[key] = val
	}
	return result, nil
}
