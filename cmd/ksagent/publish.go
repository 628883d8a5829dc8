package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"

	"kubesolo.io/os/internal/event"
)

// kubeconfigPort is the virtio-serial port that takes the admin kubeconfig. It
// is only there when the one who owns the machine gave it the port.
const kubeconfigPort = "io.kubesolo.kubeconfig"

// publisher writes the kubeconfig to the port, once and again when it changes.
// A write blocks for as long as nobody reads on the host, so it has a goroutine
// of its own.
type publisher struct {
	log        *slog.Logger
	sysfs, dev string
	offered    chan []byte
	last       []byte
}

func newPublisher(log *slog.Logger, sysfs, dev string) *publisher {
	return &publisher{log: log, sysfs: sysfs, dev: dev, offered: make(chan []byte, 1)}
}

// offer hands over the present content of the file. It does not block, and is
// called by one goroutine.
func (p *publisher) offer(path string) {
	data, err := os.ReadFile(path)
	if err != nil || bytes.Equal(data, p.last) {
		return // a missing file is the health check's to report
	}
	select {
	case p.offered <- data:
		p.last = data
	default: // the last one is still being written: at the next tick
	}
}

// run writes what is offered until ctx ends or the machine has no port.
func (p *publisher) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case data := <-p.offered:
			err := p.write(ctx, data)
			if errors.Is(err, fs.ErrNotExist) {
				return
			} else if err != nil && ctx.Err() == nil {
				p.log.Warn("kubeconfig not handed to the host", "port", kubeconfigPort, "err", err)
			}
		}
	}
}

func (p *publisher) write(ctx context.Context, data []byte) error {
	name, err := event.FindPort(p.sysfs, p.dev, kubeconfigPort)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	// Closing ends a write that nobody reads.
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	if _, err := f.Write(append(bytes.Clone(data), '\n')); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
