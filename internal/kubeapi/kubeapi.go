// Package kubeapi is a small client of the Kubernetes API: plain HTTP and JSON
// with the credentials of a kubeconfig.
//
// It owns the reading of kubeconfigs (kubeconfig.go), the connection, and the
// form of the API's errors. It has no types of Kubernetes objects: callers
// decode what they need into structs of their own. It never runs a credential
// plugin, caches nothing, and retries nothing. client-go would do as well, for
// 30 MB more in each program.
//
// It is tested against a TLS server with client certificates.
package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client talks to one API server as one user. It may be used by several
// goroutines.
type Client struct {
	server string // without a slash at the end
	token  string
	http   *http.Client
}

// maxBody bounds an answer that is decoded: the API itself refuses objects over
// 3 MiB, lists of a small node are far below this.
const maxBody = 64 << 20

// Server is the URL of the API server.
func (c *Client) Server() string { return c.server }

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is an answer of the API other than success.
type StatusError struct {
	Method, Path string
	Code         int    // HTTP status
	Reason       string // of the API's Status object, such as NotFound, or ""
	Message      string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.Method, e.Path, e.Code, http.StatusText(e.Code), e.Message)
}

// IsNotFound says whether the API answered that there is no such object.
func IsNotFound(err error) bool { return hasCode(err, http.StatusNotFound) }

// IsConflict says whether the API answered that the object is there already, or
// was changed meanwhile.
func IsConflict(err error) bool { return hasCode(err, http.StatusConflict) }

func hasCode(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == code
}

// Get reads path, such as /api/v1/nodes, into out (see Do).
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.Do(ctx, http.MethodGet, path, nil, out)
}

// Create posts in to the collection path and reads the answer into out, which
// may be nil.
func (c *Client) Create(ctx context.Context, path string, in, out any) error {
	return c.Do(ctx, http.MethodPost, path, in, out)
}

// Delete deletes the object at path. The object may be there for a while yet.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.Do(ctx, http.MethodDelete, path, nil, nil)
}

// Do sends one request. path begins with a slash and may have a query. in is
// encoded as JSON (nil: no body; []byte: as it is). out is decoded from JSON;
// a *string or *[]byte takes the body as it is; nil drops it. A PATCH is sent
// as a merge patch (RFC 7396). The error is a *StatusError when the API answered
// and did not succeed.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	body, err := c.open(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if len(data) > maxBody {
		return fmt.Errorf("%s %s: the answer is longer than %d bytes", method, path, maxBody)
	}
	switch out := out.(type) {
	case nil:
	case *string:
		*out = string(data)
	case *[]byte:
		*out = data
	default:
		if err := json.Unmarshal(data, out); err != nil {
			return fmt.Errorf("%s %s: decode the answer: %w", method, path, err)
		}
	}
	return nil
}

// Logs returns what a container has printed so far. container may be empty when
// the pod has just one.
func (c *Client) Logs(ctx context.Context, namespace, pod, container string) (string, error) {
	path := "/api/v1/namespaces/" + url.PathEscape(namespace) + "/pods/" + url.PathEscape(pod) + "/log"
	if container != "" {
		path += "?container=" + url.QueryEscape(container)
	}
	var text string
	err := c.Get(ctx, path, &text)
	return text, err
}

// open sends a request and returns the body of a success.
func (c *Client) open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(in)
	default:
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: encode the request: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Accept", "application/json, */*")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err // names method and URL
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, decodeStatus(method, path, resp)
}

// decodeStatus reads a Status object, or the plain text of an endpoint such as
// /readyz. A body that breaks off still gives the code.
func decodeStatus(method, path string, resp *http.Response) error {
	data, readErr := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	status := &StatusError{Method: method, Path: path, Code: resp.StatusCode}
	var object struct {
		Kind, Reason, Message string
	}
	if err := json.Unmarshal(data, &object); err == nil && object.Kind == "Status" {
		status.Reason, status.Message = object.Reason, object.Message
	} else {
		status.Message = strings.TrimSpace(string(data))
	}
	if status.Message == "" && readErr != nil {
		status.Message = readErr.Error()
	}
	return status
}

// timeouts of a connection; a request's own limit is its context.
const (
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
)
