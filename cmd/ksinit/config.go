package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kubesolo.io/os/internal/boot"
	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
)

// maxConfig bounds a configuration document.
const maxConfig = 1 << 20

// document is one piece of configuration as it was read.
type document struct {
	name   string // of the file that keeps the last good one
	kind   cloudinit.Kind
	text   []byte
	origin string
	err    error  // fs.ErrNotExist when there is none, and nobody asked for one
	remedy string // what to do about err; with it all that is said of err is one line
}

// documents are the sources of the configuration, lowest first.
func (n *node) documents() []document {
	data := document{name: "data", kind: cloudinit.CloudConfig}
	data.text, data.origin, data.err = readFirst("/data/cloud-init.yaml", "/etc/kubesolo/cloud-init.yaml")
	all := append(append([]document(nil), n.volume...), data)
	if n.args.CloudInit == "" || strings.Contains(n.args.CloudInit, "://") {
		return all
	}
	argument := document{name: "argument", kind: cloudinit.CloudConfig, origin: n.args.CloudInit}
	var err error
	if argument.text, err = readFile(n.args.CloudInit); err != nil { // somebody asked for it: its absence is news
		argument.err = fmt.Errorf("kubesolo.cloudinit: %v", err)
	}
	return append(all, argument)
}

// readConfig puts the configuration together. It always leaves a usable one:
// the error says what of the sources is not in it.
func (n *node) readConfig(ctx context.Context) error {
	n.parts = []config.Part{config.Defaults()}
	var errs []error
	for _, d := range n.documents() {
		if errors.Is(d.err, os.ErrNotExist) {
			continue
		}
		errs = append(errs, n.addDocument(ctx, d))
	}
	errs = append(errs, n.mergeConfig())
	return boot.Degraded(errors.Join(errs...))
}

// addDocument appends a parsed document, or the last good one in its place.
func (n *node) addDocument(ctx context.Context, d document) error {
	if d.name == "" { // a volume of which nothing could be read
		return d.err
	}
	var errs []error
	part, warnings, err := cloudinit.Parse(d.kind, d.text)
	if d.err != nil {
		part, warnings, err = config.Part{}, nil, d.err
		if d.remedy == "" {
			errs = append(errs, d.err)
		}
	}
	part.Source = d.origin
	for _, w := range warnings {
		errs = append(errs, fmt.Errorf("%s: %v", d.origin, w))
	}
	// One mistake a line, each with its place: a file with twelve mistakes is
	// mended in one go.
	for _, p := range cloudinit.Problems(err) {
		errs = append(errs, fmt.Errorf("%s: %w", d.origin, p))
	}
	used, reason := config.OrLastGood(part, err, n.lastGood(d))
	switch {
	case d.remedy != "":
		errs = append(errs, fmt.Errorf("%w; %s; %s", d.err, n.standIn(d, used), d.remedy))
	case reason != "":
		errs = append(errs, errors.New(reason))
	}
	if err == nil {
		n.fresh[d.name] = part
		boot.Note(ctx, "%s", d.origin)
	}
	n.parts = append(n.parts, used)
	return errors.Join(errs...)
}

// mergeConfig merges the parts with the kernel arguments on top, and lets the
// other programs of the node know.
func (n *node) mergeConfig() error {
	top, err := config.KernelArgs(n.args.Hostname, n.args.IP)
	merged, origins := config.Merge(append(append([]config.Part(nil), n.parts...), top)...)
	n.config = merged
	n.log.Debug("configuration", "origins", origins.String())
	return errors.Join(err, config.Validate(merged, origins), config.WriteEffective(config.EffectiveDir, merged, origins))
}

func (n *node) goodPath(name string) string { return filepath.Join(n.good, "good-"+name+".json") }

// lastGood is the good document that may stand in for d. One of another address
// is not: it may be that of another machine, or of another site.
func (n *node) lastGood(d document) string {
	path := n.goodPath(d.name)
	if d.name == remoteDocument {
		if good, err := config.Load(path); err == nil && good.Source != d.origin {
			return ""
		}
	}
	return path
}

// standIn says what is used in place of d. A node rewrites its good documents
// each time it becomes healthy with them, so the file's time is their date.
func (n *node) standIn(d document, used config.Part) string {
	if used.Source == d.origin {
		return "no earlier good one is there, the weaker sources stand"
	}
	date := ""
	if st, err := os.Stat(n.goodPath(d.name)); err == nil {
		date = ", of " + st.ModTime().UTC().Format(time.DateOnly) + ","
	}
	return "the last good one" + date + " is used"
}

// keepConfig remembers the documents that this node became healthy with.
func (n *node) keepConfig() {
	for name, part := range n.fresh {
		if err := config.Save(n.goodPath(name), part); err != nil {
			n.log.Warn("configuration not kept as the last good one", "err", err)
		}
	}
}

func readFirst(paths ...string) ([]byte, string, error) {
	for _, path := range paths {
		text, err := readFile(path)
		if !errors.Is(err, os.ErrNotExist) {
			return text, path, err
		}
	}
	return nil, "", os.ErrNotExist
}

// readFile reads no more than is refused anyway: a wrong file of gigabytes
// would take all of the memory.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig))
}
