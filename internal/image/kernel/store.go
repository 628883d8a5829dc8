package kernel

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"kubesolo.io/os/internal/image/tool"
)

// isModule says whether a file name is that of a kernel module, compressed or not.
func isModule(name string) bool {
	for _, suffix := range []string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// store writes r to the file to, unpacking a compressed module on the way
// (Tiny Core ships .ko.gz, Debian 13 .ko.xz, others .ko.zst).
func store(ctx context.Context, run *tool.Runner, to string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	packed := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(to, ".gz"), ".xz"), ".zst")
	suffix := strings.TrimPrefix(to, packed)
	if !strings.HasSuffix(packed, ".ko") {
		packed, suffix = to, ""
	}
	f, err := os.Create(packed)
	if err != nil {
		return err
	}
	err = unpack(ctx, run, suffix, f, r)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func unpack(ctx context.Context, run *tool.Runner, suffix string, w io.Writer, r io.Reader) error {
	switch suffix {
	case ".gz":
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		r = z
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		r = z
	case ".xz":
		return run.Run(ctx, tool.Command{Name: "xz", Args: []string{"-dc"}, Stdin: r, Stdout: w})
	}
	_, err := io.Copy(w, r)
	return err
}
