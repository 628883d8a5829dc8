package kubeapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// kubeconfig is the part of a kubeconfig (client-go, tools/clientcmd/api/v1)
// that this client uses.
type kubeconfig struct {
	CurrentContext string `yaml:"current-context"`
	Contexts       []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string  `yaml:"name"`
		Cluster cluster `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string `yaml:"name"`
		User user   `yaml:"user"`
	} `yaml:"users"`
}

type cluster struct {
	Server        string `yaml:"server"`
	CAFile        string `yaml:"certificate-authority"`
	CAData        string `yaml:"certificate-authority-data"`
	TLSServerName string `yaml:"tls-server-name"`
	Insecure      bool   `yaml:"insecure-skip-tls-verify"`
}

type user struct {
	CertFile string `yaml:"client-certificate"`
	CertData string `yaml:"client-certificate-data"`
	KeyFile  string `yaml:"client-key"`
	KeyData  string `yaml:"client-key-data"`
	Token    string `yaml:"token"`
	Exec     any    `yaml:"exec"`
}

// Load makes a client from the current context of a kubeconfig. Certificates
// may be inline or in files; users with a credential plugin are refused. It
// sends nothing.
func Load(data []byte) (*Client, error) {
	var config kubeconfig
	if err := yaml.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	cl, u, err := config.current()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	server, err := url.Parse(cl.Server)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: server: %w", err)
	}
	if server.Scheme != "https" || server.Host == "" {
		return nil, fmt.Errorf("kubeconfig: server %q is not an https URL", cl.Server)
	}
	conf, err := tlsConfig(cl, u)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return &Client{
		server: strings.TrimSuffix(cl.Server, "/"),
		token:  u.Token,
		http: &http.Client{Transport: &http.Transport{
			TLSClientConfig:     conf,
			ForceAttemptHTTP2:   true,
			TLSHandshakeTimeout: handshakeTimeout,
			IdleConnTimeout:     idleTimeout,
			// No proxy: the API is on this node or forwarded to this machine.
		}},
	}, nil
}

// WithServer returns a client of the same user for the API at another URL, as
// through a forwarded port. The server's certificate must be good for it.
func (c *Client) WithServer(server string) *Client {
	other := *c
	other.server = strings.TrimSuffix(server, "/")
	return &other
}

func (k kubeconfig) current() (cluster, user, error) {
	for _, ctx := range k.Contexts {
		if ctx.Name != k.CurrentContext {
			continue
		}
		for _, cl := range k.Clusters {
			for _, u := range k.Users {
				if cl.Name == ctx.Context.Cluster && u.Name == ctx.Context.User {
					return cl.Cluster, u.User, nil
				}
			}
		}
		return cluster{}, user{}, fmt.Errorf("context %q: cluster %q or user %q is not there", ctx.Name, ctx.Context.Cluster, ctx.Context.User)
	}
	return cluster{}, user{}, fmt.Errorf("current context %q is not there", k.CurrentContext)
}

func tlsConfig(cl cluster, u user) (*tls.Config, error) {
	if u.Exec != nil {
		return nil, errors.New("the user needs a credential plugin, which is not supported")
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cl.TLSServerName, InsecureSkipVerify: cl.Insecure}
	ca, err := inlineOrFile("certificate-authority", cl.CAData, cl.CAFile)
	if err != nil {
		return nil, err
	}
	if ca != nil {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("certificate-authority holds no certificate")
		}
	}
	cert, err := inlineOrFile("client-certificate", u.CertData, u.CertFile)
	if err != nil {
		return nil, err
	}
	key, err := inlineOrFile("client-key", u.KeyData, u.KeyFile)
	if err != nil {
		return nil, err
	}
	if cert != nil || key != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("client-certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// inlineOrFile gives the bytes of a field that is either base64 or a file name;
// nil when it is neither.
func inlineOrFile(name, inline, file string) ([]byte, error) {
	switch {
	case inline != "":
		data, err := base64.StdEncoding.DecodeString(inline)
		if err != nil {
			return nil, fmt.Errorf("%s-data: %w", name, err)
		}
		return data, nil
	case file != "":
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return data, nil
	}
	return nil, nil
}
