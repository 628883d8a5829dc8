package sshd

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"
)

// forward connects a channel of `ssh -L` to the API server, which is all that
// can be reached: a key opens this node, not the network around it.
func (c *client) forward(ctx context.Context, offered ssh.NewChannel) {
	var target struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(offered.ExtraData(), &target); err != nil {
		_ = offered.Reject(ssh.ConnectionFailed, "malformed request")
		return
	}
	host, port, _ := net.SplitHostPort(c.server.API)
	if (target.Host != host && target.Host != "localhost") || strconv.FormatUint(uint64(target.Port), 10) != port {
		_ = offered.Reject(ssh.Prohibited, "only "+c.server.API+" can be forwarded")
		return
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", c.server.API)
	if err != nil {
		_ = offered.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	channel, requests, err := offered.Accept()
	if err != nil {
		return // the connection ended
	}
	defer channel.Close()
	go ssh.DiscardRequests(requests)
	// One side that has no more to say is told to the other; an error on
	// either ends both.
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := io.Copy(conn, channel); err != nil {
			_ = conn.Close()
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	})
	wait.Go(func() {
		if _, err := io.Copy(channel, conn); err != nil {
			_ = conn.Close()
			return
		}
		_ = channel.CloseWrite()
	})
	wait.Wait()
}
