package inputs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kubesolo.io/os/internal/image/tool"
)

// Package is one Debian package in the cache.
type Package struct {
	Name    string
	Version string
	File    string // the .deb
	Input   Input
}

// Debian fetches packages of the host's own Debian release through apt.
type Debian struct {
	Run   *tool.Runner
	Cache string // directory for .deb files
}

// ErrNoCandidate is wrapped when apt knows no such package.
var ErrNoCandidate = errors.New("apt knows no such package")

// candidate is what apt would download: one line of `apt-get download --print-uris`.
type candidate struct {
	uri, file string
	sha256    string
}

// parseURIs reads the output of apt-get --print-uris: 'URI' file size SHA256:hex.
func parseURIs(out []byte) []candidate {
	var list []candidate
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		sum, ok := strings.CutPrefix(f[3], "SHA256:")
		if !ok {
			continue
		}
		list = append(list, candidate{uri: strings.Trim(f[0], "'"), file: f[1], sha256: sum})
	}
	return list
}

// archivePath is the part of a package's address that is the same on every mirror.
func archivePath(uri string) string {
	if i := strings.Index(uri, "/pool/"); i >= 0 {
		return strings.ReplaceAll(uri[i+1:], "%2b", "+")
	}
	return uri
}

// Fetch returns the newest version of each package, in the order given, downloading what
// the cache does not hold. apt checks the archive's signature over the hash; the file is
// checked against that hash again here.
func (d Debian) Fetch(ctx context.Context, names ...string) ([]Package, error) {
	if err := os.MkdirAll(d.Cache, 0o755); err != nil {
		return nil, err
	}
	found, err := d.candidates(ctx, names)
	if err != nil {
		return nil, err
	}
	if err := d.download(ctx, names, found); err != nil {
		return nil, err
	}
	packages := make([]Package, 0, len(names))
	for i, name := range names {
		p, err := d.take(name, found[i])
		if err != nil {
			return nil, fmt.Errorf("debian package %s: %w", name, err)
		}
		packages = append(packages, p)
	}
	return packages, nil
}

// download brings what the cache lacks. A package that the mirror has replaced since the
// lists were read is not there any more: as root the lists are read again, once, and
// found is brought up to date.
func (d Debian) download(ctx context.Context, names []string, found []candidate) error {
	var missing []string
	for i, name := range names {
		if sum, _, err := HashFile(filepath.Join(d.Cache, found[i].file)); err != nil || sum != found[i].sha256 {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	get := tool.Command{Name: "apt-get", Dir: d.Cache, Args: append([]string{"download"}, missing...)}
	err := d.Run.Run(ctx, get)
	if err == nil {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("debian packages %s: %w; if apt's lists are too old, run: sudo apt-get update", strings.Join(missing, " "), err)
	}
	if err := d.Run.Run(ctx, tool.Command{Name: "apt-get", Args: []string{"update"}}); err != nil {
		return fmt.Errorf("read the Debian package lists: %w", err)
	}
	again, err := d.candidates(ctx, names)
	if err != nil {
		return err
	}
	copy(found, again)
	if err := d.Run.Run(ctx, get); err != nil {
		return fmt.Errorf("debian packages %s: %w", strings.Join(missing, " "), err)
	}
	return nil
}

func (d Debian) candidates(ctx context.Context, names []string) ([]candidate, error) {
	// Asked in a directory of its own: apt says nothing of a file that is there already.
	empty, err := os.MkdirTemp(d.Cache, "ask")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(empty) }() // empty
	ask := tool.Command{Name: "apt-get", Dir: empty, Args: append([]string{"download", "--print-uris"}, names...)}
	out, err := d.Run.Output(ctx, ask)
	if err != nil && os.Geteuid() == 0 {
		// Package lists that were never read: the usual state of a container.
		if err := d.Run.Run(ctx, tool.Command{Name: "apt-get", Args: []string{"update"}}); err != nil {
			return nil, fmt.Errorf("read the Debian package lists: %w", err)
		}
		out, err = d.Run.Output(ctx, ask)
	}
	if err != nil {
		return nil, fmt.Errorf("debian packages %s: %w (%w); tried `apt-get download`: run `apt-get update` first, "+
			"and see that /etc/apt names a Debian mirror this machine can reach", strings.Join(names, " "), ErrNoCandidate, err)
	}
	// The answer is in apt's own order: match by name.
	all := parseURIs(out)
	found := make([]candidate, len(names))
	for i, name := range names {
		at := slices.IndexFunc(all, func(c candidate) bool { return strings.HasPrefix(c.file, name+"_") })
		if at < 0 {
			return nil, fmt.Errorf("debian package %s: %w", name, ErrNoCandidate)
		}
		found[i] = all[at]
	}
	return found, nil
}

// take checks a downloaded package against the archive's hash.
func (d Debian) take(name string, c candidate) (Package, error) {
	file := filepath.Join(d.Cache, c.file)
	sum, size, err := HashFile(file)
	if err != nil {
		return Package{}, err
	}
	if sum != c.sha256 {
		return Package{}, fmt.Errorf("%s has SHA-256 %s, the archive says %s", file, sum, c.sha256)
	}
	version := strings.TrimPrefix(c.file, name+"_")
	if i := strings.LastIndexByte(version, '_'); i >= 0 {
		version = version[:i]
	}
	version = strings.ReplaceAll(version, "%3a", ":")
	return Package{Name: name, Version: version, File: file, Input: Input{Name: name, Kind: "debian-package",
		Version: version, Origin: archivePath(c.uri), SHA256: sum, Size: size}}, nil
}

// Closure returns names and all packages they depend on, sorted.
func (d Debian) Closure(ctx context.Context, names ...string) ([]string, error) {
	args := append([]string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances"}, names...)
	out, err := d.Run.Output(ctx, tool.Command{Name: "apt-cache", Args: args})
	if err != nil {
		return nil, fmt.Errorf("dependencies of %s: %w", strings.Join(names, " "), err)
	}
	var closure []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		// Names start a line; their relations are indented. <name> is a virtual package.
		if line == "" || line[0] == ' ' || line[0] == '|' || line[0] == '<' {
			continue
		}
		closure = append(closure, line)
	}
	slices.Sort(closure)
	return slices.Compact(closure), nil
}

// Depends returns the package that the meta package name depends on and whose name
// starts with prefix, as linux-image-amd64 does on linux-image-6.1.0-56-amd64.
func (d Debian) Depends(ctx context.Context, name, prefix string) (string, error) {
	out, err := d.Run.Output(ctx, tool.Command{Name: "apt-cache", Args: []string{"depends", "--no-recommends", "--no-suggests", name}})
	if err != nil {
		return "", fmt.Errorf("dependencies of %s: %w", name, err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "Depends:" && strings.HasPrefix(f[1], prefix) {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("%s depends on no package named %s*: %w", name, prefix, ErrNoCandidate)
}

// Entries calls visit for every entry of the package's file system. Names are relative
// and clean of a leading "./".
func (d Debian) Entries(ctx context.Context, p Package, visit func(h *tar.Header, r io.Reader) error) error {
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := d.Run.Run(ctx, tool.Command{Name: "dpkg-deb", Args: []string{"--fsys-tarfile", p.File}, Stdout: pw})
		pw.CloseWithError(err) // nil reads as EOF
		done <- err
	}()
	err := eachEntry(pr, visit)
	pr.CloseWithError(errors.New("reader left"))
	if runErr := <-done; err == nil && runErr != nil {
		err = runErr
	}
	if err != nil {
		return fmt.Errorf("debian package %s: %w", p.Name, err)
	}
	return nil
}

func eachEntry(r io.Reader, visit func(h *tar.Header, r io.Reader) error) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // tar's padding, so that the program ends well
			return err
		}
		if err != nil {
			return err
		}
		h.Name = strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
		if err := visit(h, tr); err != nil {
			return err
		}
	}
}

// Files returns the named regular files of the package, by path.
func (d Debian) Files(ctx context.Context, p Package, names ...string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := d.Entries(ctx, p, func(h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg || !slices.Contains(names, h.Name) {
			return nil
		}
		var b bytes.Buffer
		if _, err := io.Copy(&b, r); err != nil {
			return err
		}
		files[h.Name] = b.Bytes()
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if files[name] == nil {
			return nil, fmt.Errorf("debian package %s %s holds no /%s", p.Name, p.Version, name)
		}
	}
	return files, nil
}
