package inputs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Release is an official KubeSolo release: the statically linked archive for an external
// container runtime.
type Release struct {
	BaseURL string // the directory of releases; "" = KubeSolo's own
	Tag     string // v1.2.0
	SHA256  string // of the archive; required, releases carry no signed list
	Cache   string
}

const releasesURL = "https://github.com/portainer/kubesolo/releases/download"

// URL is the address of the archive. The `-musl` archive is used because it is static,
// the online one because images come with this OS and the runtime is external.
func (r Release) URL() string {
	baseURL := r.BaseURL
	if baseURL == "" {
		baseURL = releasesURL
	}
	return strings.TrimSuffix(baseURL, "/") + "/" + r.Tag + "/kubesolo-" + r.Tag + "-linux-amd64-musl.tar.gz"
}

// ErrHash is wrapped when bytes are not those that were asked for.
var ErrHash = errors.New("wrong SHA-256")

// Fetch returns the archive's file, downloading it unless the cache holds it.
func (r Release) Fetch(ctx context.Context) (string, error) {
	url := r.URL()
	if r.SHA256 == "" {
		return "", fmt.Errorf("%s: give its hash with KUBESOLO_SHA256=...: a download is only used when it is known what it must be", url)
	}
	file := filepath.Join(r.Cache, path.Base(url))
	if sum, _, err := HashFile(file); err == nil && sum == r.SHA256 {
		return file, nil
	}
	if err := os.MkdirAll(r.Cache, 0o755); err != nil {
		return "", err
	}
	if err := download(ctx, url, file+".part"); err != nil {
		return "", fmt.Errorf("%w; download it elsewhere and give KUBESOLO=FILE, or build from source with KUBESOLO=source", err)
	}
	sum, _, err := HashFile(file + ".part")
	if err != nil {
		return "", err
	}
	if sum != r.SHA256 {
		return "", fmt.Errorf("%s: %w: it is %s, KUBESOLO_SHA256 says %s", url, ErrHash, sum, r.SHA256)
	}
	return file, os.Rename(file+".part", file)
}

// download has no total time limit (a slow line is not an error), but one for the answer
// to begin.
func download(ctx context.Context, url, file string) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	client := http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read only
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: the server says %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// KubeSoloFile takes a KubeSolo binary, or a .tar.gz that holds one file named kubesolo,
// checks it (hash when one is given; an x86-64 ELF program) and puts it at out.
func KubeSoloFile(file, sha256, out string) (Input, error) {
	sum, size, err := HashFile(file)
	if err != nil {
		return Input{}, fmt.Errorf("%w; it must be `source`, a release tag like v1.2.0, a binary, or a release .tar.gz", err)
	}
	if sha256 != "" && sum != sha256 {
		return Input{}, fmt.Errorf("%s: %w: it is %s, KUBESOLO_SHA256 says %s", file, ErrHash, sum, sha256)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return Input{}, err
	}
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		if data, err = fromArchive(data); err != nil {
			return Input{}, fmt.Errorf("%s: %w", file, err)
		}
	}
	program, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return Input{}, fmt.Errorf("%s: not an ELF program: %w", file, err)
	}
	if program.Machine != elf.EM_X86_64 {
		return Input{}, fmt.Errorf("%s: built for %s, this image is for x86-64", file, program.Machine)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return Input{}, err
	}
	if err := os.WriteFile(out, data, 0o755); err != nil {
		return Input{}, err
	}
	return Input{Name: "kubesolo", Kind: "file", Origin: filepath.Base(file), SHA256: sum, Size: size}, nil
}

// fromArchive returns the file kubesolo of a .tar.gz.
func fromArchive(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	tr := tar.NewReader(z)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the archive holds no file named kubesolo")
		}
		if err != nil {
			return nil, fmt.Errorf("damaged archive: %w", err)
		}
		if h.Typeflag == tar.TypeReg && path.Base(h.Name) == "kubesolo" {
			b, err := io.ReadAll(tr)
			if err != nil {
				return nil, fmt.Errorf("damaged archive: %w", err)
			}
			return b, nil
		}
	}
}
