package trust

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"kubesolo.io/os/internal/update/source"
)

// Options of a client.
type Options struct {
	Dir   string           // trusted metadata is kept below it; made when something is to be kept
	Root  []byte           // root.json of the image
	Now   func() time.Time // the clock
	Floor time.Time        // a time that is surely past: metadata is never judged by an earlier one
}

// Client holds what one node trusts. Its methods may be called from several goroutines.
type Client struct {
	o    Options
	disk cache

	refreshing sync.Mutex

	mu      sync.Mutex
	root    Root
	targets []Target
	until   time.Time
}

// Open starts from the image's root and from what is kept on disk already. It fails only
// when the root of the image cannot be used.
func Open(o Options) (*Client, error) {
	baked, err := Inspect(o.Root)
	if err != nil {
		return nil, fmt.Errorf("trusted root of this image: %w", err)
	}
	c := &Client{o: o, disk: newCache(o.Dir, baked.Repository)}
	w, err := c.walk(nil)
	if err != nil {
		return nil, fmt.Errorf("trusted root of this image: %w", err)
	}
	// What is on disk may be absent, damaged or expired: then nothing is
	// offered until the first refresh.
	if targets, err := w.all(context.Background()); err == nil {
		c.targets, c.until = targets, w.until()
	}
	c.root = rootOf(w.set.Root)
	return c, nil
}

// Refresh fetches and checks all metadata. When it fails, Targets are what they were: what
// did not pass every check is never offered. Errors wrap ErrSignature, ErrExpired,
// ErrRollback or ErrDamaged, or are those of the source or of the disk.
func (c *Client) Refresh(ctx context.Context, src source.Source) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	w, err := c.walk(src)
	if err != nil {
		return err
	}
	targets, err := w.all(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.root = rootOf(w.set.Root)
	if err != nil {
		return fmt.Errorf("updates from %s: %w", src, err)
	}
	c.targets, c.until = targets, w.until()
	return nil
}

// Targets are the slot images on offer, by ascending version.
func (c *Client) Targets() []Target {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.targets)
}

// ValidUntil is when the first of the files that Targets were read from expires; zero
// when there are none.
func (c *Client) ValidUntil() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.until
}

// Root describes the newest root that is trusted.
func (c *Client) Root() Root {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.root
}
