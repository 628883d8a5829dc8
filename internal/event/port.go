package event

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// FindPort gives the device node of the virtio-serial port with that name, by
// the names under <sysfs>/class/virtio-ports (there is no udev to make
// /dev/virtio-ports). The error is os.ErrNotExist when the machine has none.
func FindPort(sysfs, dev, name string) (string, error) {
	names, err := filepath.Glob(filepath.Join(sysfs, "class/virtio-ports/*/name"))
	if err != nil {
		return "", fmt.Errorf("virtio port %s: %w", name, err)
	}
	for _, file := range names {
		content, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(content)) == name {
			return filepath.Join(dev, filepath.Base(filepath.Dir(file))), nil
		}
	}
	return "", fmt.Errorf("virtio port %s: %w", name, os.ErrNotExist)
}

// WaitPort is FindPort for a port that may still come: virtio_console makes
// its ports, and names them, after its probe has returned, so a boot that loads
// the module and looks once misses the port now and then (one boot in some
// hundreds under emulation). changed waits for the next news of such a device
// and returns an error when none will come, which WaitPort passes on.
func WaitPort(ctx context.Context, sysfs, dev, name string, changed func(context.Context) error) (string, error) {
	for {
		path, err := FindPort(sysfs, dev, name)
		if !errors.Is(err, os.ErrNotExist) {
			return path, err
		}
		if err := changed(ctx); err != nil {
			return "", fmt.Errorf("virtio port %s: %w", name, err)
		}
	}
}
