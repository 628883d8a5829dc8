package apiserver

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
)

// TestArgsAreKnown finds flags that a new upstream version renamed or removed.
func TestArgsAreKnown(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range options.NewServerRunOptions().Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	cfg := Config{PKI: "/pki", DatastoreSock: "/run/kine.sock", Advertise: "10.0.0.5", Port: 6443, ServiceCIDR: "10.43.0.0/16", ClusterDomain: "cluster.local"}
	if err := flags.Parse(cfg.Args()); err != nil {
		t.Error(err)
	}
}

// TestHardening asks for the flags of CIS Kubernetes 1.2 that are not upstream's
// defaults; docs/hardening.md names them.
func TestHardening(t *testing.T) {
	args := Config{PKI: "/pki"}.Args()
	for _, want := range []string{
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--profiling=false",
		"--kubelet-certificate-authority=/pki/ca/ca.crt", "--tls-min-version=VersionTLS12",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("no %s", want)
		}
	}
	suites, err := cliflag.TLSCipherSuites(CipherSuites())
	if err != nil {
		t.Fatal(err)
	}
	for _, insecure := range cliflag.InsecureTLSCiphers() {
		if slices.Contains(suites, insecure) {
			t.Errorf("cipher suite %x is insecure", insecure)
		}
	}
}

// TestAuthentication has upstream read the file, and refuse what it does not
// know: anonymous callers come to the three health paths and to no other.
func TestAuthentication(t *testing.T) {
	cfg := Config{PKI: t.TempDir()}
	for range 2 {
		if err := writeAuthentication(cfg.authenticationFile()); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(cfg.PKI, "apiserver", "authentication.yaml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	server := kubeoptions.NewBuiltInAuthenticationOptions().WithAnonymous()
	server.AuthenticationConfigFile = cfg.authenticationFile()
	if errs := server.Validate(); len(errs) > 0 {
		t.Fatal(errs)
	}
	config, err := server.ToAuthenticationConfig()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, c := range config.Anonymous.Conditions {
		paths = append(paths, c.Path)
	}
	if !config.Anonymous.Enabled || !slices.Equal(paths, []string{"/livez", "/readyz", "/healthz"}) {
		t.Errorf("anonymous: %+v", config.Anonymous)
	}
}
