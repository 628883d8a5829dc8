package source

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Connect gives the repository of a reference, to be used by the rules of this
// package. Nothing is sent yet.
func Connect(reference string, o OCIOptions) (*remote.Repository, error) {
	where, plain, err := parseReference(reference)
	if err != nil {
		return nil, err
	}
	client, err := newClient(o.HTTPOptions)
	if err != nil {
		return nil, err
	}
	login := &auth.Client{Client: client, Cache: auth.NewCache(), ClientID: "kubesolo-os"}
	login.SetUserAgent(o.userAgent())
	if o.AuthFile != "" {
		text, err := os.ReadFile(o.AuthFile)
		if err != nil {
			return nil, fmt.Errorf("credentials for the registry: %w", err)
		}
		known, err := parseDockerConfig(text)
		if err != nil {
			return nil, fmt.Errorf("credentials for the registry: %s: %w", o.AuthFile, err)
		}
		login.Credential = func(_ context.Context, host string) (auth.Credential, error) { return known[host], nil }
	}
	return &remote.Repository{Client: login, Reference: where, PlainHTTP: plain, MaxMetadataBytes: maxManifest}, nil
}

// parseReference tells which repository and tag, and whether it is reached
// without TLS.
func parseReference(reference string) (where registry.Reference, plain bool, err error) {
	rest := strings.TrimPrefix(reference, "oci://")
	rest, plain = strings.CutPrefix(rest, "http://")
	rest, tls := strings.CutPrefix(rest, "https://")
	where, err = registry.ParseReference(rest)
	if err != nil {
		// Not said as it was given: a password may be in it.
		return where, false, errors.New("the reference of the update artifact is not one: write HOST/REPOSITORY:TAG")
	}
	return where, plain || !tls && isLoopback(where.Registry), nil
}

func isLoopback(registry string) bool {
	host := (&url.URL{Host: registry}).Hostname()
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// parseDockerConfig gives the credentials of a docker configuration by
// HOST[:PORT]. Programs that keep passwords elsewhere are not run.
func parseDockerConfig(text []byte) (map[string]auth.Credential, error) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
		CredsStore string `json:"credsStore"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, errors.New("not a docker configuration (JSON with \"auths\")") // err may quote it
	}
	known := map[string]auth.Credential{}
	for name, entry := range file.Auths {
		host, ok := registryHost(name)
		if !ok {
			continue // of one repository alone, as other tools have it
		}
		c := auth.Credential{Username: entry.Username, Password: entry.Password, RefreshToken: entry.IdentityToken, AccessToken: entry.RegistryToken}
		if entry.Auth != "" {
			pair, err := base64.StdEncoding.DecodeString(entry.Auth)
			user, password, ok := strings.Cut(string(pair), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("the entry of %.100q is not the base64 of USER:PASSWORD", name)
			}
			c.Username, c.Password = user, strings.TrimRight(password, "\x00")
		}
		if c != auth.EmptyCredential {
			known[host] = c
		}
	}
	if len(known) == 0 && file.CredsStore != "" {
		return nil, fmt.Errorf("it only says that the program %.100q has the passwords: write them into auths", "docker-credential-"+file.CredsStore)
	}
	return known, nil
}

// registryHost is the host that requests go to, of the key of an entry: the
// host or, from older times, an address.
func registryHost(name string) (host string, ok bool) {
	_, rest, isAddress := strings.Cut(name, "://")
	if !isAddress {
		rest = name
	}
	host, path, _ := strings.Cut(rest, "/")
	switch strings.Trim(path, "/") {
	case "", "v1", "v2":
	default:
		return "", false
	}
	switch host {
	case "":
		return "", false
	case "docker.io", "index.docker.io":
		host = "registry-1.docker.io"
	}
	return host, true
}

// registryError says in the words of this package what a registry's answer
// means; its other words may have the address that a blob is redirected to.
func registryError(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		return inURL.Err
	}
	if errors.Is(err, errdef.ErrNotFound) {
		return fs.ErrNotExist
	}
	if errors.Is(err, auth.ErrBasicCredentialNotFound) {
		return fmt.Errorf("the registry wants a user and password, and there are none for it: %w", ErrRefused)
	}
	var said *errcode.ErrorResponse
	if !errors.As(err, &said) {
		return err
	}
	status := fmt.Sprintf("%d %s", said.StatusCode, http.StatusText(said.StatusCode))
	if len(said.Errors) > 0 && said.Errors[0].Message != "" {
		status += fmt.Sprintf(", %.200s", said.Errors[0].Message)
	}
	switch said.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("the registry says %q, see the credentials for it: %w", status, ErrRefused)
	}
	return statusError(&http.Response{StatusCode: said.StatusCode, Status: status})
}
