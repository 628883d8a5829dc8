package kernel

import (
	"context"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RouterOptions gives the options in router advertisements that the kernel
// leaves to others, name servers and search domains among them (newer kernels
// send more): the bodies of its RTM_NEWNDUSEROPT messages (struct nduseroptmsg,
// one option each). It sends them for links
// that listen to routers. The subscription is there when this returns, so that
// nothing is missed that a link hears afterwards; when it breaks (ENOBUFS) it is
// made again, and what was missed comes with the routers' next advertisement.
// The channel is closed when ctx ends.
func (k *Kernel) RouterOptions(ctx context.Context) <-chan []byte {
	out := make(chan []byte)
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_ND_USEROPT)
	go func() {
		defer close(out)
		for {
			if err == nil {
				passOn(ctx, socket, out)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(resubscribe):
			}
			socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_ND_USEROPT)
		}
	}()
	return out
}

// passOn ends with ctx or an error of the socket, which it closes.
func passOn(ctx context.Context, socket *nl.NetlinkSocket, out chan<- []byte) {
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	for {
		messages, from, err := socket.Receive()
		if err != nil {
			return
		}
		for _, m := range messages {
			if from.Pid != nl.PidKernel || m.Header.Type != unix.RTM_NEWNDUSEROPT {
				continue
			}
			select {
			case out <- m.Data:
			case <-ctx.Done():
				return
			}
		}
	}
}
