package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// defaultStall is far above the pauses of a mobile network that changes
	// cells, and short enough that a hung server costs little of a window.
	defaultStall = time.Minute
	// connectLimit is for one address of a server, so that the next is tried
	// before the stall timer ends the request.
	connectLimit = 20 * time.Second
	maxRedirects = 5
)

// HTTPOptions say how servers are reached. Proxies are those of the environment
// (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
type HTTPOptions struct {
	// Version of the system, for the user agent: "kubesolo-os/VERSION".
	Version string
	// CAFile has certificates (PEM) of authorities that are trusted beside those
	// of the system; "" for none.
	CAFile string
	// Stall is how long a server may send nothing; 0 means one minute. There is
	// no limit on a whole download: on a slow line it would never end.
	Stall time.Duration
}

func (o HTTPOptions) userAgent() string { return "kubesolo-os/" + o.Version }

// newClient gives a client that keeps the rules of this package.
func newClient(o HTTPOptions) (*http.Client, error) {
	roots, err := authorities(o.CAFile)
	if err != nil {
		return nil, err
	}
	stall := o.Stall
	if stall == 0 {
		stall = defaultStall
	}
	return &http.Client{
		CheckRedirect: checkRedirect,
		// With a TLS configuration of its own the transport keeps to HTTP/1.1.
		// One file at a time gains nothing from HTTP/2, and its windows would be
		// 4 MiB of memory.
		Transport: &stallTransport{after: stall, base: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: connectLimit, KeepAlive: 15 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableCompression:     true, // lengths and offsets are those of the file
			MaxIdleConns:           4,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}},
	}, nil
}

// authorities are nil, which means those of the system, or those and the ones
// of the file.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificate authorities of the update source: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without any
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("certificate authorities of the update source: %s has no certificate in PEM", file)
	}
	return pool, nil
}

func checkRedirect(to *http.Request, via []*http.Request) error {
	// net/http would send the address it comes from, and with it the key that
	// its query may be.
	to.Header.Del("Referer")
	switch last := via[len(via)-1].URL; {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects: %w", maxRedirects, ErrRefused)
	case to.URL.Scheme != "http" && to.URL.Scheme != "https":
		return fmt.Errorf("redirect to %s: %w", place(to.URL), ErrRefused)
	case last.Scheme == "https" && to.URL.Scheme != "https":
		return fmt.Errorf("redirect from https to %s: %w", place(to.URL), ErrRefused)
	}
	return nil
}

// place is an address without what may be secret in it.
func place(u *url.URL) string {
	bare := *u
	bare.User, bare.RawQuery, bare.Fragment = nil, "", ""
	return bare.String()
}

// stallTransport ends a request whose server sends nothing for a while. It
// counts for each answer on its own, those of redirects and of token services
// included, and only while somebody waits for it.
type stallTransport struct {
	base  http.RoundTripper
	after time.Duration
}

func (t *stallTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	timer := time.AfterFunc(t.after, func() {
		cancel(fmt.Errorf("nothing came for %v: %w", t.after, ErrStalled))
	})
	w := watch{ctx: ctx, cancel: cancel, timer: timer, after: t.after}
	request = request.WithContext(ctx)
	if request.Body != nil && request.Body != http.NoBody {
		request.Body = &sent{request.Body, w}
	}
	response, err := t.base.RoundTrip(request)
	timer.Stop()
	if err != nil {
		err = w.cause(err)
		cancel(nil)
		return nil, err
	}
	response.Body = &received{response.Body, w}
	return response, nil
}

type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	after  time.Duration
}

// cause says why the request was ended, where the error only says that.
func (w *watch) cause(err error) error {
	if c := context.Cause(w.ctx); c != nil {
		return c
	}
	return err
}

// received is the body of an answer.
type received struct {
	io.ReadCloser
	watch
}

func (r *received) Read(p []byte) (int, error) {
	r.timer.Reset(r.after)
	n, err := r.ReadCloser.Read(p)
	r.timer.Stop()
	if err != nil && err != io.EOF {
		err = r.cause(err)
	}
	return n, err
}

func (r *received) Close() error {
	r.timer.Stop()
	err := r.ReadCloser.Close()
	r.cancel(nil)
	return err
}

// sent is the body of a request: as long as the server takes it, it is not
// silent.
type sent struct {
	io.ReadCloser
	watch
}

func (s *sent) Read(p []byte) (int, error) {
	s.timer.Reset(s.after)
	return s.ReadCloser.Read(p)
}

// doer is an http.Client, or one that logs in to a registry.
type doer interface {
	Do(*http.Request) (*http.Response, error)
}

// do sends a request. Its errors do not have the address, which may hold
// secrets: the caller names the file.
func do(d doer, request *http.Request) (*http.Response, error) {
	response, err := d.Do(request)
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	if err != nil {
		return nil, err
	}
	if packed := response.Header.Get("Content-Encoding"); packed != "" && !strings.EqualFold(packed, "identity") {
		return nil, errors.Join(fmt.Errorf("the server sends it packed (Content-Encoding %.40q), switch that off there: %w", packed, ErrRefused), response.Body.Close())
	}
	return response, nil
}
