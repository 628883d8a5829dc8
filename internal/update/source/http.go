package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// HTTP is a repository on a static file server. Plain HTTP is allowed, since all
// that comes is signed; a way down from https to http is not.
type HTTP struct {
	base   *url.URL
	agent  string
	client *http.Client
}

var _ Source = (*HTTP)(nil)

// NewHTTP takes the address of the directory that has metadata and targets. A
// user and password in it are sent (RFC 7617), a query is kept at each file.
func NewHTTP(address string, o HTTPOptions) (*HTTP, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("the address of the update repository is not one: write https://HOST/DIRECTORY")
	}
	client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	return &HTTP{base: base, agent: o.userAgent(), client: client}, nil
}

// String is the address without user, password and query.
func (h *HTTP) String() string { return place(h.base) }

// Metadata reads metadata/name.
func (h *HTTP) Metadata(ctx context.Context, name string, limit int64) ([]byte, error) {
	request, err := h.request(ctx, metadataDir, name)
	if err != nil {
		return nil, err
	}
	data, err := readAnswer(h.client, request, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place(request.URL), err)
	}
	return data, nil
}

func readAnswer(d doer, request *http.Request, limit int64) ([]byte, error) {
	response, err := do(d, request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, statusError(response)
	}
	if response.ContentLength > limit {
		return nil, errTooLong(limit)
	}
	return readLimited(response.Body, limit)
}

// Target opens targets/name at offset.
func (h *HTTP) Target(ctx context.Context, name string, size, offset int64) (io.ReadCloser, error) {
	request, err := h.request(ctx, targetsDir, name)
	if err != nil {
		return nil, err
	}
	body, err := openRange(h.client, request, size, offset)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place(request.URL), err)
	}
	return body, nil
}

func (h *HTTP) request(ctx context.Context, dir, name string) (*http.Request, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.base.JoinPath(dir, url.PathEscape(name)).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	request.Header.Set("User-Agent", h.agent)
	return request, nil
}
