package statecopy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
)

// client asks the running node, by its socket.
type client struct {
	socket string
}

// post tells whether there is a running node; its answer goes to answer.
func (c client) post(ctx context.Context, path, from string, answer any) (running bool, err error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", c.socket)
	}}
	defer transport.CloseIdleConnections()
	target := "http://node" + path + "?" + url.Values{"from": {from}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, nil)
	if err != nil {
		return false, err
	}
	response, err := transport.RoundTrip(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return false, nil // no node, or the socket of one that was killed
	}
	if err != nil {
		return false, fmt.Errorf("running node: %w", err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	if response.StatusCode != http.StatusOK {
		var said refusal
		if err := decoder.Decode(&said); err != nil {
			return true, fmt.Errorf("running node: %s", response.Status)
		}
		return true, errors.New(said.Error)
	}
	if answer == nil {
		return true, nil
	}
	if err := decoder.Decode(answer); err != nil {
		return true, fmt.Errorf("running node: %w", err)
	}
	return true, nil
}
