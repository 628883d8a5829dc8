package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/blockdev"
	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/mount"
)

// maxConfig bounds a configuration document.
const maxConfig = 1 << 20

// A source is one place a cloud-init document may come from, lowest first.
type source struct {
	name string // of the file that keeps the last good one
	read func(context.Context, *node) (text []byte, origin string, err error)
}

func sources() []source {
	return []source{
		{"cidata", func(_ context.Context, n *node) ([]byte, string, error) {
			return n.volume.text, n.volume.origin, n.volume.err
		}},
		{"data", func(_ context.Context, n *node) ([]byte, string, error) {
			return readFirst("/data/cloud-init.yaml", "/etc/kubesolo/cloud-init.yaml")
		}},
		{"argument", func(_ context.Context, n *node) ([]byte, string, error) {
			if n.args.CloudInit == "" || strings.Contains(n.args.CloudInit, "://") {
				return nil, "", os.ErrNotExist
			}
			text, err := os.ReadFile(n.args.CloudInit)
			if err != nil { // somebody asked for it: its absence is news
				return nil, "", fmt.Errorf("kubesolo.cloudinit: %v", err)
			}
			return text, n.args.CloudInit, nil
		}},
	}
}

// readConfig puts the configuration together. It always leaves a usable one:
// the error says what of the sources is not in it.
func (n *node) readConfig(ctx context.Context) error {
	n.parts = []config.Part{config.Defaults()}
	var errs []error
	for _, s := range sources() {
		text, origin, err := s.read(ctx, n)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, n.addDocument(ctx, s.name, origin, text))
	}
	errs = append(errs, n.mergeConfig())
	return boot.Degraded(errors.Join(errs...))
}

// addDocument appends a parsed document, or the last good one in its place.
func (n *node) addDocument(ctx context.Context, name, origin string, text []byte) error {
	part, warnings, err := cloudinit.Parse(cloudinit.CloudConfig, text)
	part.Source = origin
	var errs []error
	for _, w := range warnings {
		errs = append(errs, fmt.Errorf("%s: %v", origin, w))
	}
	if err != nil {
		// One mistake a line, each with its place: a file with twelve
		// mistakes is mended in one go.
		for _, line := range strings.Split(err.Error(), "\n") {
			errs = append(errs, fmt.Errorf("%s: %s", origin, line))
		}
	}
	used, reason := config.OrLastGood(part, err, goodPath(name))
	if reason != "" {
		errs = append(errs, errors.New(reason))
	}
	if err == nil {
		n.fresh[name] = part
		boot.Note(ctx, "%s", origin)
	}
	n.parts = append(n.parts, used)
	return errors.Join(errs...)
}

// mergeConfig merges the parts with the kernel arguments on top.
func (n *node) mergeConfig() error {
	top, err := config.KernelArgs(n.args.Hostname, n.args.IP)
	merged, origins := config.Merge(append(append([]config.Part(nil), n.parts...), top)...)
	n.config = merged
	n.log.Debug("configuration", "origins", origins.String())
	return errors.Join(err, config.Validate(merged, origins))
}

func goodPath(name string) string { return filepath.Join(stateDir, "good-"+name+".json") }

// keepConfig remembers the documents that this node became healthy with.
func (n *node) keepConfig() {
	for name, part := range n.fresh {
		if err := config.Save(goodPath(name), part); err != nil {
			n.log.Warn("configuration not kept as the last good one", "err", err)
		}
	}
}

func readFirst(paths ...string) ([]byte, string, error) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if !errors.Is(err, os.ErrNotExist) {
			return text, path, err
		}
	}
	return nil, "", os.ErrNotExist
}

// readVolume is a step of its own because it takes time beside the data
// partition: a CD drive answers late. What it found is a source of readConfig.
func (n *node) readVolume(ctx context.Context) error {
	n.volume.text, n.volume.origin, n.volume.err = n.findVolume()
	if n.volume.err == nil {
		boot.Note(ctx, "%s", n.volume.origin)
	}
	return nil // readConfig says what was wrong
}

// findVolume looks for a NoCloud volume: a disk labelled CIDATA with a file
// user-data.
func (n *node) findVolume() ([]byte, string, error) {
	devices, err := blockdev.Scan("/sys", "/dev")
	if err != nil {
		return nil, "", err
	}
	var volume blockdev.Device
	for _, label := range []string{"CIDATA", "cidata"} {
		volume, err = blockdev.Find(devices, "LABEL="+label)
		if !errors.Is(err, blockdev.ErrNotFound) {
			break
		}
	}
	if errors.Is(err, blockdev.ErrNotFound) {
		return nil, "", os.ErrNotExist
	}
	if err != nil {
		return nil, "", fmt.Errorf("configuration volume: %w", err)
	}
	at := mount.Entry{Source: volume.Path, Target: "/run/ksinit/cidata", Type: volume.FSType, Flags: unix.MS_RDONLY | quiet}
	if err := n.loadModules(volume.FSType); err != nil {
		n.log.Debug("file system module", "err", err)
	}
	if err := at.Apply(); err != nil {
		return nil, "", fmt.Errorf("configuration volume: %w", err)
	}
	defer func() {
		if err := unix.Unmount(at.Target, 0); err != nil {
			n.log.Warn("configuration volume stays mounted", "err", err)
		}
	}()
	text, name, err := readFirst(at.Target+"/user-data", at.Target+"/cloud-init.yaml")
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", fmt.Errorf("configuration volume %s: it has no file user-data", volume.Path)
	}
	return text, volume.Path + " " + filepath.Base(name), err
}

// fetchConfig reads the document that kubesolo.cloudinit= names by URL. The
// network is up by then, so what it says of the network has no effect.
func (n *node) fetchConfig(ctx context.Context) error {
	if !strings.Contains(n.args.CloudInit, "://") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	text, err := httpGet(ctx, n.args.CloudInit)
	if err != nil {
		return fmt.Errorf("kubesolo.cloudinit: %w", err)
	}
	before := n.config
	errs := []error{n.addDocument(ctx, "url", n.args.CloudInit, text), n.mergeConfig()}
	n.config.Network = before.Network
	if n.config.Hostname != before.Hostname {
		errs = append(errs, n.setHostname(ctx))
	}
	settings := config.Config{WriteFiles: n.config.WriteFiles, Sysctl: n.config.Sysctl, Modules: n.config.Modules}
	if len(settings.WriteFiles)+len(settings.Sysctl)+len(settings.Modules) > 0 {
		errs = append(errs, n.applySettings(ctx))
	}
	return boot.Degraded(errors.Join(errs...))
}

// httpGet is as much HTTP as one file from a local server needs (RFC 9110,
// HTTP/1.0 so that nothing is chunked). PID 1 links no TLS: a document that
// has to come over an untrusted network belongs on the medium.
func httpGet(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("%s: only http:// and files are possible at boot: put the document on the data partition instead", address)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "80")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\nAccept: */*\r\nUser-Agent: ksinit\r\n\r\n", u.RequestURI(), u.Host); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(answer) > maxConfig {
		return nil, fmt.Errorf("%s: longer than %d bytes", address, maxConfig)
	}
	head, body, ok := strings.Cut(string(answer), "\r\n\r\n")
	status, _, _ := strings.Cut(head, "\r\n")
	if f := strings.Fields(status); !ok || len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") || f[1] != "200" {
		return nil, fmt.Errorf("%s: the server says %.80q", address, status)
	}
	return []byte(body), nil
}
