package kernel

import (
	"context"
	"time"

	"github.com/vishvananda/netlink"
)

// resubscribe is the pause before a broken subscription is made again; it
// bounds the load when the kernel keeps refusing.
const resubscribe = time.Second

// Watch sends on the returned channel whenever a link may have changed
// (appeared, vanished, carrier) or an address (by a router's advertisement, by
// hand), and once at the start. Signals are merged: the receiver takes a
// Snapshot for each. The channel is closed when ctx ends.
//
// A subscription ends by itself when the kernel's buffer overflows (ENOBUFS):
// it is made again, and a signal is sent since changes may have been missed.
func (k *Kernel) Watch(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		for ctx.Err() == nil {
			k.subscription(ctx, changed)
			select {
			case <-ctx.Done():
			case <-time.After(resubscribe):
			}
		}
	}()
	return changed
}

func (k *Kernel) subscription(ctx context.Context, changed chan<- struct{}) {
	signal := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	done := make(chan struct{})
	defer close(done)
	links, addrs := make(chan netlink.LinkUpdate), make(chan netlink.AddrUpdate)
	// The library blocks in its sends until they are received: the rest is taken
	// so that its readers see done and leave. A channel that was not subscribed
	// has no reader and nobody closes it.
	defer func() { go drain(links); go drain(addrs) }()
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{}); err != nil {
		close(links)
		close(addrs)
		signal()
		return
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{}); err != nil {
		close(addrs)
		signal()
		return
	}
	signal() // after subscribing: nothing between here and the snapshot is lost
	for {
		open := true
		select {
		case <-ctx.Done():
			return
		case _, open = <-links:
		case _, open = <-addrs:
		}
		if !open {
			return
		}
		signal()
	}
}

func drain[T any](c <-chan T) {
	for range c {
	}
}
