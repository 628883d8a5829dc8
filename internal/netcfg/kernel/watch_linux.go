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
// (appeared, vanished, carrier), and once at the start. Signals are merged: the receiver takes a Snapshot for
// each. The channel is closed when ctx ends.
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
	updates := make(chan netlink.LinkUpdate)
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{})
	signal() // after subscribing: nothing between here and the snapshot is lost
	if err != nil {
		return
	}
	// The library blocks in its send until it is received.
	for {
		select {
		case <-ctx.Done():
			go func() {
				for range updates { // lets the reader see done and leave
				}
			}()
			return
		case _, open := <-updates:
			if !open {
				return
			}
			signal()
		}
	}
}
