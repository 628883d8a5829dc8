package node

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"kubesolo.io/os/solonode/internal/hostnet"
	"kubesolo.io/os/solonode/internal/lifecycle"
	"kubesolo.io/os/solonode/internal/options"
	"kubesolo.io/os/solonode/internal/pki"
	"kubesolo.io/os/solonode/internal/statecopy"
)

const (
	resolvConf     = "/etc/resolv.conf"
	socketDir      = "/run/kubesolo"
	renewalCheck   = 12 * time.Hour
	pkiServer      = "https://127.0.0.1:6443"
	maxNameLength  = 63
	clockTolerance = 24 * time.Hour
	settleAfter    = 20 * time.Second
)

// Config is the node to run.
type Config struct {
	Options options.Options
	Floor   time.Time // a time that is surely past, zero for none
	Log     func(line string)
	Hurry   <-chan struct{}
	Fatal   <-chan error
	// Settle is called once, when everything has been ready for a while.
	Settle func() error
	// ControlPlaneOnly leaves out what changes the host: kubelet, kube-proxy,
	// masquerading, CNI configuration. For tests.
	ControlPlaneOnly bool
}

type node struct {
	Config
	name    string
	choice  hostnet.Choice
	pki     pki.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	begin   time.Time
	keeper  *statecopy.Keeper
}

// Run prepares files and network, then runs the components until ctx ends or
// one fails.
func Run(ctx context.Context, cfg Config) error {
	n := &node{Config: cfg, begin: time.Now()}
	if err := n.prepare(); err != nil {
		return err
	}
	return lifecycle.Run(ctx, n.components(), lifecycle.Options{
		StartupTimeout: cfg.Options.StartupTimeout, StopBudget: stopBudget,
		Log: cfg.Log, Hurry: cfg.Hurry, Fatal: cfg.Fatal,
	})
}

func (n *node) prepare() error {
	var err error
	if n.name, err = nodeName(n.Options.NodeName, os.Hostname); err != nil {
		return err
	}
	if n.Floor.Sub(n.begin) > clockTolerance {
		n.Log(fmt.Sprintf("the clock says %s, which is before this program was made (%s): certificates are made valid for both",
			n.begin.Format(time.DateOnly), n.Floor.Format(time.DateOnly)))
	}
	if err := n.prepareNetwork(); err != nil {
		return err
	}
	n.pki = n.pkiConfig()
	signed, err := pki.Ensure(n.pki)
	if err != nil {
		return err
	}
	if len(signed) > 0 {
		n.Log("certificates signed: " + strings.Join(signed, " "))
	}
	n.keeper = statecopy.NewKeeper(StateStore(n.Options), n.copyInterval(), n.Log)
	return n.connect()
}

func (n *node) prepareNetwork() error {
	links, err := hostnet.Snapshot()
	if err != nil {
		return err
	}
	n.choice = hostnet.Choose(n.Options.NodeIP, links)
	n.Log(fmt.Sprintf("node %s has address %s (%s)", n.name, n.choice.Address, n.choice.Reason))
	if n.ControlPlaneOnly {
		return nil
	}
	if n.choice.Foreign {
		if err := hostnet.Adopt(n.choice.Address); err != nil {
			return err
		}
	}
	for _, failed := range hostnet.Sysctls(n.Options.DisableIPv6) {
		n.Log("kernel setting: " + failed.Error())
	}
	mtu := n.Options.MTU
	if mtu == 0 {
		mtu = n.choice.MTU
	}
	warning, err := hostnet.WriteCNI(hostnet.CNIDir, options.PodCIDR, mtu)
	if warning != "" {
		n.Log("CNI configuration: " + warning)
	}
	return err
}

func (n *node) pkiConfig() pki.Config {
	serviceIP, _ := netip.ParseAddr(options.ServiceIP)
	cfg := pki.Config{
		Dir:       filepath.Join(n.Options.Path, "pki"),
		NodeName:  n.name,
		Addresses: []netip.Addr{n.choice.Address, serviceIP},
		Server:    pkiServer,
		Now:       n.begin,
		Floor:     n.Floor,
	}
	for _, san := range n.Options.ExtraSANs {
		if addr, err := netip.ParseAddr(san); err == nil {
			cfg.Addresses = append(cfg.Addresses, addr)
		} else {
			cfg.Names = append(cfg.Names, san)
		}
	}
	return cfg
}

// connect makes the clients that this package and the small controllers use.
func (n *node) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(n.pki.Dir, "controller-manager", "controller-manager.kubeconfig"))
	if err != nil {
		return fmt.Errorf("admin client: %w", err)
	}
	config.UserAgent = "kubesolo"
	config.QPS, config.Burst = 50, 100
	plain := rest.CopyConfig(config)
	plain.ContentType = "application/vnd.kubernetes.protobuf"
	plain.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	if n.client, err = kubernetes.NewForConfig(plain); err != nil {
		return fmt.Errorf("admin client: %w", err)
	}
	if n.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return fmt.Errorf("admin client: %w", err)
	}
	return nil
}

// renew re-signs certificates that near their end while the process runs; the
// components read the files again by themselves.
func (n *node) renew(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(renewalCheck):
		}
		cfg := n.pki
		cfg.Now = time.Now()
		signed, err := pki.Ensure(cfg)
		if err != nil {
			n.Log(err.Error())
		}
		if len(signed) > 0 {
			n.Log("certificates signed: " + strings.Join(signed, " "))
		}
	}
}

// settle waits until the first informers have filled and pods have started.
func (n *node) settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(settleAfter):
	}
	if err := n.Settle(); err != nil {
		n.Log("memory: " + err.Error())
	}
	return nil
}

// nodeName checks the name early: the API server would refuse the Node object
// minutes later with a message nobody sees.
func nodeName(configured string, hostname func() (string, error)) (string, error) {
	name := configured
	if name == "" {
		var err error
		if name, err = hostname(); err != nil {
			return "", fmt.Errorf("node name: %w", err)
		}
		name = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	for _, label := range strings.Split(name, ".") {
		valid := label != "" && len(label) <= maxNameLength && label[0] != '-' && label[len(label)-1] != '-' &&
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
		if !valid {
			return "", fmt.Errorf("node name %q is not a lower-case RFC 1123 name; set the host name or --node-name", name)
		}
	}
	return name, nil
}
