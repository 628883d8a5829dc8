package options

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, env map[string]string, args ...string) (Options, error) {
	t.Helper()
	return Parse(args, func(name string) string { return env[name] })
}

func TestDefaults(t *testing.T) {
	opts, err := parse(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if opts.Path != "/var/lib/kubesolo" || !opts.LocalStorage || !opts.LoadBalancer || opts.StartupTimeout != 10*time.Minute ||
		opts.RuntimeEndpoint != "unix:///run/containerd/containerd.sock" || opts.MetricsAddress != "127.0.0.1:9105" ||
		opts.StateCopies != "/data/kubesolo-copies" || opts.StateCopyEvery != 6*time.Hour || opts.StateCopiesKeep != 4 || len(opts.Notices) != 0 {
		t.Errorf("unexpected defaults: %+v", opts)
	}
}

func TestFlagsWinOverEnvironment(t *testing.T) {
	env := map[string]string{"KUBESOLO_PATH": "/env", "KUBESOLO_NODE_NAME": "env", "KUBESOLO_LOCAL_STORAGE": "false"}
	opts, err := parse(t, env, "--node-name=flag", "--no-load-balancer")
	if err != nil {
		t.Fatal(err)
	}
	if opts.Path != "/env" || opts.NodeName != "flag" || opts.LocalStorage || opts.LoadBalancer {
		t.Errorf("got path %q, name %q, storage %t, load balancer %t", opts.Path, opts.NodeName, opts.LocalStorage, opts.LoadBalancer)
	}
}

func TestEveryDocumentedFlagAndVariable(t *testing.T) {
	for _, setting := range settings() {
		value := map[string]string{
			"path": "/x", "startup-timeout": "5", "node-ip": "10.1.1.1", "mtu": "1400", "load-balancer-ip": "10.1.1.2",
			"container-runtime-endpoint": "/run/x.sock", "cpu-manager-policy-options": "a=b", "system-reserved": "cpu=1",
			"state-copies": "/copies", "state-copy-every": "90m", "state-copies-keep": "2",
		}[setting.flag]
		if flag := newRaw().flags().Lookup(setting.flag); value == "" && flag.Value.Type() == "bool" {
			value = "true"
		} else if value == "" {
			value = "word"
		}
		fromFlag, err := parse(t, nil, "--"+setting.flag+"="+value)
		if err != nil {
			t.Errorf("--%s: %v", setting.flag, err)
		}
		fromEnv, err := parse(t, map[string]string{setting.env: value})
		if err != nil {
			t.Errorf("%s: %v", setting.env, err)
		}
		wantNotices := 0
		if setting.ignored != "" || setting.flag == "portainer-edge-id" || setting.flag == "portainer-edge-key" {
			wantNotices = 1 // those two only go together
		}
		if len(fromFlag.Notices) != wantNotices || len(fromEnv.Notices) != wantNotices {
			t.Errorf("%s: notices %q and %q, want %d", setting.flag, fromFlag.Notices, fromEnv.Notices, wantNotices)
		}
	}
}

func TestRefused(t *testing.T) {
	tests := map[string][]string{
		"unknown flag: --nope":       {"--nope"},
		"unexpected argument":        {"serve"},
		"not an absolute path":       {"--path=relative"},
		"--startup-timeout 0":        {"--startup-timeout=0"},
		"--mtu 10":                   {"--mtu=10"},
		"--state-copies":             {"--state-copies=copies"},
		"--state-copy-every 1s":      {"--state-copy-every=1s"},
		"--state-copies-keep 0":      {"--state-copies-keep=0"},
		"unix:///absolute/path":      {"--container-runtime-endpoint=tcp://127.0.0.1:1"},
		"is not key=value":           {"--system-reserved=cpu"},
		"not an IPv4 address":        {"--load-balancer-ip=fe80::1"},
		"invalid argument \"maybe\"": {"--debug=maybe"},
	}
	for want, args := range tests {
		if _, err := parse(t, nil, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got error %v, want %q", args, err, want)
		}
	}
	_, err := parse(t, map[string]string{"KUBESOLO_MTU": "big"})
	if err == nil || !strings.Contains(err.Error(), "KUBESOLO_MTU") {
		t.Errorf("bad environment value: got error %v", err)
	}
	for want, arg := range map[error]string{ErrHelp: "--help", ErrVersion: "--version"} {
		if _, err := parse(t, nil, arg); !errors.Is(err, want) {
			t.Errorf("%s: got error %v", arg, err)
		}
	}
}

func TestBadNodeIPIsANotice(t *testing.T) {
	for value, valid := range map[string]bool{"10.0.0.5": true, "127.0.0.1": false, "fe80::1": false, "x": false} {
		opts, err := parse(t, map[string]string{"KUBESOLO_NODE_IP": value})
		if err != nil {
			t.Fatal(err)
		}
		if opts.NodeIP.IsValid() != valid || (len(opts.Notices) == 0) != valid {
			t.Errorf("%s: got %v with notices %q", value, opts.NodeIP, opts.Notices)
		}
		if valid && opts.NodeIP != netip.MustParseAddr(value) {
			t.Errorf("%s: got %v", value, opts.NodeIP)
		}
	}
}

func TestPortainer(t *testing.T) {
	env := map[string]string{
		"KUBESOLO_PORTAINER_EDGE_ID": "7f1c2d", "KUBESOLO_PORTAINER_EDGE_KEY": "a2V5\n", // a block of YAML ends with a line break
		"KUBESOLO_PORTAINER_EDGE_ASYNC": "true", "KUBESOLO_PORTAINER_EDGE_IMAGE": "example.test/agent:2",
	}
	opts, err := parse(t, env)
	if err != nil || len(opts.Notices) != 0 {
		t.Fatalf("notices %q, error %v", opts.Notices, err)
	}
	if opts.PortainerEdgeID.Reveal() != "7f1c2d" || opts.PortainerEdgeKey.Reveal() != "a2V5" || !opts.PortainerEdgeAsync ||
		opts.PortainerEdgeImage != "example.test/agent:2" {
		t.Errorf("got %q %q %t %q", opts.PortainerEdgeID.Reveal(), opts.PortainerEdgeKey.Reveal(), opts.PortainerEdgeAsync, opts.PortainerEdgeImage)
	}
	for _, half := range []string{"KUBESOLO_PORTAINER_EDGE_ID", "KUBESOLO_PORTAINER_EDGE_KEY"} {
		opts, err := parse(t, map[string]string{half: "only"})
		if err != nil || len(opts.Notices) != 1 || !strings.Contains(opts.Notices[0], "both or none") {
			t.Errorf("%s alone: notices %q, error %v", half, opts.Notices, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("--path=/x", "10.0.0.1", "a=b,c=d")
	f.Add("--mtu", "::", "=,")
	f.Fuzz(func(t *testing.T, arg, nodeIP, reserved string) {
		env := map[string]string{"KUBESOLO_NODE_IP": nodeIP, "KUBESOLO_SYSTEM_RESERVED": reserved}
		opts, err := Parse([]string{arg}, func(name string) string { return env[name] })
		if err == nil && (!strings.HasPrefix(opts.Path, "/") || opts.StartupTimeout <= 0) {
			t.Errorf("accepted %+v", opts)
		}
	})
}
