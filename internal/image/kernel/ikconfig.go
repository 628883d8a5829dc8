package kernel

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"

	"kubesolo.io/os/internal/image/tool"
)

// configInImage is the configuration that a bzImage built with CONFIG_IKCONFIG=y carries,
// as gzip; nil when it carries none, or is packed in a way that is not known here. Errors
// are none of the build's: the kernel may be a good one all the same.
func configInImage(ctx context.Context, run *tool.Runner, image io.ReaderAt) []byte {
	payload := payloadOf(image)
	var r io.Reader
	switch {
	case bytes.HasPrefix(payload, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil
		}
		z.Multistream(false)
		r = z
	case bytes.HasPrefix(payload, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(bytes.NewReader(withoutSize(payload)), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil
		}
		defer z.Close()
		r = z
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")):
		out, err := run.Output(ctx, tool.Command{Name: "xz", Args: []string{"-dc"}, Stdin: bytes.NewReader(withoutSize(payload))})
		if err != nil {
			return nil
		}
		return cutConfig(out)
	default:
		return nil
	}
	unpacked, err := io.ReadAll(r)
	if err != nil {
		return nil
	}
	return cutConfig(unpacked)
}

// withoutSize drops the size in four bytes that the kernel's build appends to what is not
// gzip (scripts/Makefile.lib, size_append); decoders take it for a damaged file.
func withoutSize(payload []byte) []byte { return payload[:max(0, len(payload)-4)] }

// payloadOf is the packed kernel in a bzImage (Documentation/arch/x86/boot.rst: its place
// after the setup code is at 0x248, its length at 0x24c, since protocol 2.08).
func payloadOf(image io.ReaderAt) []byte {
	var header [0x250]byte
	if _, err := image.ReadAt(header[:], 0); err != nil || binary.LittleEndian.Uint16(header[0x206:]) < 0x208 {
		return nil
	}
	setup := int64(header[0x1f1])
	if setup == 0 {
		setup = 4 // as the documentation says
	}
	at := (setup+1)*512 + int64(binary.LittleEndian.Uint32(header[0x248:]))
	// What the header claims is not trusted: only what is there is read.
	payload, err := io.ReadAll(io.NewSectionReader(image, at, int64(binary.LittleEndian.Uint32(header[0x24c:]))))
	if err != nil {
		return nil
	}
	return payload
}

// cutConfig finds the configuration between the marks of kernel/configs.c. The gzip magic
// tells it from a text that speaks of the mark.
func cutConfig(kernel []byte) []byte {
	const begin, end = "IKCFG_ST", "IKCFG_ED"
	at := bytes.Index(kernel, []byte(begin+"\x1f\x8b"))
	if at < 0 {
		return nil
	}
	kernel = kernel[at+len(begin):]
	length := bytes.Index(kernel, []byte(end))
	if length < 0 {
		return nil
	}
	return kernel[:length]
}
