// Package apiserver runs upstream's kube-apiserver inside the process.
//
// It owns the server's flags (Args, pure and golden-tested) and nothing of its
// behaviour. Two parts are wired otherwise than in upstream's command, for the
// sake of memory: one connection to the datastore serves all resources (package
// apistorage), and the OpenAPI documents are made on demand (package apidocs).
// Profiling, auditing and priority and fairness are off: they cost
// memory and a single node has no competing tenants to be fair to; the
// flowcontrol API itself stays served. The event TTL is an hour, and all APIs
// that conformance touches stay on.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/registry/generic"
	serveroptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"kubesolo.io/os/solonode/internal/apidocs"
	"kubesolo.io/os/solonode/internal/apistorage"
)

// Config is what differs between nodes.
type Config struct {
	PKI           string // directory
	DatastoreSock string // absolute path of the etcd socket
	Advertise     string // IPv4 address for the kubernetes Service's endpoint; loopback is refused by the API
	Port          int
	ServiceCIDR   string
	ClusterDomain string
}

// Args are the server's flags.
func (cfg Config) Args() []string {
	file := func(parts ...string) string { return filepath.Join(append([]string{cfg.PKI}, parts...)...) }
	return []string{
		"--advertise-address=" + cfg.Advertise,
		"--secure-port=" + strconv.Itoa(cfg.Port),
		"--etcd-servers=unix://" + cfg.DatastoreSock,
		// kine compacts by itself.
		"--etcd-compaction-interval=0",
		"--etcd-count-metric-poll-period=0",
		"--etcd-db-metric-poll-interval=0",
		"--service-cluster-ip-range=" + cfg.ServiceCIDR,
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--authentication-config=" + cfg.authenticationFile(),
		"--client-ca-file=" + file("ca", "ca.crt"),
		"--tls-min-version=VersionTLS12",
		"--tls-cipher-suites=" + strings.Join(CipherSuites(), ","),
		"--tls-cert-file=" + file("apiserver", "apiserver.crt"),
		"--tls-private-key-file=" + file("apiserver", "apiserver.key"),
		"--kubelet-certificate-authority=" + file("ca", "ca.crt"),
		"--kubelet-client-certificate=" + file("apiserver", "kubelet-client.crt"),
		"--kubelet-client-key=" + file("apiserver", "kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--service-account-issuer=https://kubernetes.default.svc." + cfg.ClusterDomain,
		"--service-account-key-file=" + file("apiserver", "service-account.key"),
		"--service-account-signing-key-file=" + file("apiserver", "service-account.key"),
		"--requestheader-client-ca-file=" + file("request-header", "request-header.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + file("request-header", "client.crt"),
		"--proxy-client-key-file=" + file("request-header", "client.key"),
		"--profiling=false",
		"--enable-priority-and-fairness=false",
		"--event-ttl=1h",
		"--max-requests-inflight=200",
		"--max-mutating-requests-inflight=100",
		// One server, one endpoint: the default type writes a lease to the
		// disk every ten seconds.
		"--endpoint-reconciler-type=master-count",
		"--shutdown-delay-duration=0s",
		"--shutdown-send-retry-after=false",
		// Else it waits for watches that nobody ends, of the kubelet and of pods:
		// 6 s of each stop, and then it was left behind.
		"--shutdown-watch-termination-grace-period=1s",
		"--delete-collection-workers=1",
	}
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	if err := writeAuthentication(cfg.authenticationFile()); err != nil {
		return fmt.Errorf("apiserver authentication: %w", err)
	}
	serverOptions := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range serverOptions.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(cfg.Args()); err != nil {
		return fmt.Errorf("apiserver flags: %w", err)
	}
	if err := serverOptions.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("apiserver feature gates: %w", err)
	}
	completed, err := serverOptions.Complete(ctx)
	if err != nil {
		return fmt.Errorf("apiserver options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("apiserver options: %w", utilerrors.NewAggregate(errs))
	}
	return serve(ctx, completed)
}

// serve is upstream's app.Run with one datastore connection for all resources
// and OpenAPI documents on demand.
func serve(ctx context.Context, completed options.CompletedOptions) error {
	config, err := app.NewConfig(completed)
	if err != nil {
		return err
	}
	connection, err := apistorage.Dial(context.WithoutCancel(ctx), completed.Etcd.StorageConfig.Transport.ServerList)
	if err != nil {
		return err
	}
	if err := share(connection, config, completed.Etcd.WatchCacheSizes); err != nil {
		return err
	}
	documents := apidocs.Configure(config)
	complete, err := config.Complete()
	if err != nil {
		return err
	}
	chain, err := app.CreateServerChain(complete)
	if err != nil {
		return err
	}
	if err := documents.Attach(ctx, chain.GenericAPIServer); err != nil {
		return err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	documents.Started()
	return errors.Join(prepared.Run(ctx), connection.Close())
}

// share gives the storages of the three servers of the chain the connection.
func share(connection *apistorage.Connection, config *app.Config, watchCacheSizes []string) error {
	sizes, err := serveroptions.ParseWatchCacheSizes(watchCacheSizes)
	if err != nil {
		return err
	}
	uncached := map[schema.GroupResource]bool{}
	for resource, size := range sizes {
		uncached[resource] = size == 0
	}
	for _, getter := range []*generic.RESTOptionsGetter{
		&config.KubeAPIs.ControlPlane.Generic.RESTOptionsGetter,
		&config.ApiExtensions.GenericConfig.RESTOptionsGetter,
		&config.Aggregator.GenericConfig.RESTOptionsGetter,
	} {
		*getter = apistorage.Getter{RESTOptionsGetter: *getter, Connection: connection, Uncached: uncached}
	}
	custom := &config.ApiExtensions.ExtraConfig.CRDRESTOptionsGetter
	*custom = apistorage.Getter{RESTOptionsGetter: *custom, Connection: connection}
	return nil
}

// Ready asks /readyz with client.
func Ready(ctx context.Context, client kubernetes.Interface) error {
	var status int
	body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status).Raw()
	if err != nil {
		return fmt.Errorf("readyz: %w", err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("readyz: status %d: %.200s", status, body)
	}
	return nil
}
