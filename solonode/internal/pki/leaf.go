package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

const (
	caName            = "ca"
	requestHeaderName = "request-header"
	// mastersGroup bypasses RBAC. The controllers use it because they act for
	// every controller's role through one client.
	mastersGroup = "system:masters"
)

type leaf struct {
	file          string // without extension, below the pki directory
	authority     string
	commonName    string
	organization  string
	names         []string
	addresses     []netip.Addr
	server        bool
	client        bool
	kubeconfig    string // file to write next to it, "" for none
	embedMaterial bool   // put certificate and key into the kubeconfig
}

func (cfg Config) leafs() []leaf {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	serverAddresses := append([]netip.Addr{loopback}, cfg.Addresses...)
	apiNames := append([]string{
		"localhost", cfg.NodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local",
	}, cfg.Names...)
	return []leaf{
		{file: "apiserver/apiserver", authority: caName, commonName: "kube-apiserver", names: apiNames, addresses: serverAddresses, server: true},
		{file: "apiserver/kubelet-client", authority: caName, commonName: "kube-apiserver-kubelet-client", organization: mastersGroup, client: true},
		{file: "request-header/client", authority: requestHeaderName, commonName: "front-proxy-client", client: true},
		{file: "controller-manager/controller-manager", authority: caName, commonName: "system:kube-controller-manager", organization: mastersGroup, client: true, kubeconfig: "controller-manager.kubeconfig"},
		{file: "scheduler/scheduler", authority: caName, commonName: "system:kube-scheduler", client: true, kubeconfig: "scheduler.kubeconfig"},
		{file: "kube-proxy/kube-proxy", authority: caName, commonName: "system:kube-proxy", client: true, kubeconfig: "kube-proxy.kubeconfig"},
		{file: "kubelet/kubelet-client", authority: caName, commonName: "system:node:" + cfg.NodeName, organization: "system:nodes", client: true, kubeconfig: "kubelet.kubeconfig"},
		{file: "kubelet/kubelet", authority: caName, commonName: "system:node:" + cfg.NodeName, organization: "system:nodes", names: []string{cfg.NodeName, "localhost"}, addresses: serverAddresses, server: true},
		{file: "admin/admin", authority: caName, commonName: "kubernetes-admin", organization: mastersGroup, client: true, kubeconfig: "admin.kubeconfig", embedMaterial: true},
	}
}

func (l leaf) subject() pkix.Name {
	subject := pkix.Name{CommonName: l.commonName}
	if l.organization != "" {
		subject.Organization = []string{l.organization}
	}
	return subject
}

func (cfg Config) ensureLeaf(l leaf, ca *authority) (bool, error) {
	base := filepath.Join(cfg.Dir, filepath.FromSlash(l.file))
	key, keyErr := readKey(base + ".key")
	cert, _, certErr := readCertificate(base + ".crt")
	if keyErr == nil && certErr == nil && samePublicKey(cert, key) && cfg.stale(cert, l, ca) == "" {
		return false, nil
	}
	if keyErr != nil {
		// A torn or foreign leaf key is replaced: nothing else depends on it.
		if !errors.Is(keyErr, fs.ErrNotExist) {
			if err := removeFile(base + ".key"); err != nil {
				return false, err
			}
		}
		var err error
		if key, err = ensureKey(base + ".key"); err != nil {
			return false, err
		}
	}
	return true, cfg.signLeaf(l, ca, key, base+".crt")
}

// stale names the reason why cert has to be signed again, or "".
func (cfg Config) stale(cert *x509.Certificate, l leaf, ca *authority) string {
	var addresses []string
	for _, ip := range cert.IPAddresses {
		addresses = append(addresses, ip.String())
	}
	var wanted []string
	for _, addr := range l.addresses {
		wanted = append(wanted, addr.String())
	}
	switch {
	case cert.CheckSignatureFrom(ca.cert) != nil:
		return "another issuer"
	case cfg.Now.Before(cert.NotBefore):
		return "not valid yet"
	case cert.NotAfter.Sub(cfg.Now) < RenewBefore:
		return "near its end"
	case cert.Subject.String() != l.subject().String():
		return "another subject"
	case !sameSet(addresses, wanted):
		return "other addresses"
	case !sameSet(cert.DNSNames, dnsNames(l.names)):
		return "other names"
	}
	return ""
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func (cfg Config) signAuthority(name string, key *ecdsa.PrivateKey, file string) (*x509.Certificate, []byte, error) {
	notBefore, notAfter := cfg.validity(authorityLifetime)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "kubesolo-" + name},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return writeCertificate(file, template, template, key, key)
}

func (cfg Config) signLeaf(l leaf, ca *authority, key *ecdsa.PrivateKey, file string) error {
	notBefore, notAfter := cfg.validity(leafLifetime)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:     l.subject(),
		NotBefore:   notBefore,
		NotAfter:    notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: l.usages(),
		DNSNames:    dnsNames(l.names),
	}
	for _, addr := range l.addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	_, _, err := writeCertificate(file, template, ca.cert, key, ca.key)
	return err
}

func (l leaf) usages() []x509.ExtKeyUsage {
	var usages []x509.ExtKeyUsage
	if l.server {
		usages = append(usages, x509.ExtKeyUsageServerAuth)
	}
	if l.client {
		usages = append(usages, x509.ExtKeyUsageClientAuth)
	}
	return usages
}

func dnsNames(names []string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.TrimSpace(name) == "" })
	slices.Sort(names)
	return slices.Compact(names)
}

// newSerial is 127 random bits: RFC 5280 wants a positive number of at most 20
// octets.
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
