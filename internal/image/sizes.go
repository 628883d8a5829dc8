package image

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"

	"kubesolo.io/os/internal/image/tree"
)

// Part is what one part of the image costs. Of a part of the root Compressed is its share of
// the squashfs, in proportion to what the parts come to when each is compressed alone with a
// fast level.
type Part struct {
	Name       string `json:"name"`
	Files      int    `json:"files"`
	Bytes      int64  `json:"bytes"`
	Compressed int64  `json:"compressed"`
}

// File is an output of the build. Bytes is its size, Allocated what it takes on disk.
type File struct {
	Name      string `json:"name"`
	Bytes     int64  `json:"bytes"`
	Allocated int64  `json:"allocated"`
}

// Sizes is build/sizes.json.
type Sizes struct {
	Parts []Part `json:"parts"`
	Files []File `json:"files"`
}

// Result is what a build tells. A build that was to stop early has no sizes.
type Result struct {
	Sizes    Sizes
	Warnings []string
}

// Print writes the sizes and then the warnings, the last thing that is read, for people.
func (r Result) Print(w io.Writer) error {
	if len(r.Sizes.Parts) > 0 {
		if err := r.Sizes.Print(w); err != nil {
			return err
		}
	}
	for _, text := range r.Warnings {
		if _, err := fmt.Fprintf(w, "\nwarning: %s\n", text); err != nil {
			return err
		}
	}
	return nil
}

// measure compresses each part of the root in blocks, as squashfs does, and divides total,
// the size of the squashfs, in that proportion.
func measure(t *tree.Tree, total int64) ([]Part, error) {
	byName := map[string]*Part{}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, err
	}
	defer func() { _ = enc.Close() }() // it writes nowhere
	block, packed := make([]byte, 1<<20), []byte(nil)
	for _, p := range t.Paths() {
		n := t.Get(p)
		part := byName[n.Origin]
		if part == nil {
			part = &Part{Name: n.Origin}
			byName[n.Origin] = part
		}
		if !n.Mode.IsRegular() {
			continue
		}
		part.Files++
		part.Bytes += n.Data.Size()
		r, err := n.Data.Open()
		if err != nil {
			return nil, err
		}
		for {
			k, err := io.ReadFull(r, block)
			packed = enc.EncodeAll(block[:k], packed[:0])
			part.Compressed += int64(min(len(packed), k))
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			if err != nil {
				return nil, err
			}
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
	}
	var parts []Part
	sum := int64(0)
	for _, p := range byName {
		sum += p.Compressed
	}
	for _, p := range byName {
		if sum > 0 {
			p.Compressed = int64(float64(p.Compressed) / float64(sum) * float64(total))
		}
		parts = append(parts, *p)
	}
	slices.SortFunc(parts, largestFirst)
	return parts, nil
}

func (b *Builder) writeSizes() (Sizes, error) {
	s := Sizes{Parts: slices.Clone(b.rootParts)}
	for _, name := range []string{"vmlinuz", "root.squashfs", "kubesolo-os.gz", "kubesolo-os-amd64.iso", "kubesolo-os-amd64.img"} {
		fi, err := os.Stat(b.path(name))
		if err != nil {
			return s, err
		}
		s.Files = append(s.Files, File{Name: name, Bytes: fi.Size(), Allocated: allocated(fi)})
	}
	early, err := b.earlyParts(s.Files)
	if err != nil {
		return s, err
	}
	s.Parts = append(s.Parts, early...)
	slices.SortFunc(s.Parts, largestFirst)
	return s, writeJSON(b.path("sizes.json"), s)
}

// earlyParts are those before the root: the kernel, and ksinit with what it needs to mount it.
func (b *Builder) earlyParts(outputs []File) ([]Part, error) {
	size := map[string]int64{}
	for _, f := range outputs {
		size[f.Name] = f.Bytes
	}
	init, err := os.Stat(b.programs["ksinit"])
	if err != nil {
		return nil, err
	}
	return []Part{
		{Name: "kernel", Files: 1, Bytes: size["vmlinuz"], Compressed: size["vmlinuz"]},
		{Name: "ksinit and its initramfs", Files: 1 + len(b.selection.Initrd), Bytes: init.Size(),
			Compressed: size["kubesolo-os.gz"] - size["root.squashfs"]},
	}, nil
}

func largestFirst(a, b Part) int {
	return cmp.Or(cmp.Compare(b.Compressed, a.Compressed), cmp.Compare(a.Name, b.Name))
}

// Print writes the sizes as a table for people, in MB (10^6 bytes).
func (s Sizes) Print(w io.Writer) error {
	line := func(format string, args ...any) error {
		_, err := fmt.Fprintf(w, format, args...)
		return err
	}
	if err := line("\n%-28s %8s %12s %8s\n", "part of the image", "files", "MB", "MB packed"); err != nil {
		return err
	}
	for _, p := range s.Parts {
		if err := line("%-28s %8d %12.2f %8.2f\n", p.Name, p.Files, float64(p.Bytes)/1e6, float64(p.Compressed)/1e6); err != nil {
			return err
		}
	}
	if err := line("\n%-28s %8s %12s %8s\n", "output", "", "MB", "on disk"); err != nil {
		return err
	}
	for _, f := range s.Files {
		if err := line("%-28s %8s %12.2f %8.2f\n", f.Name, "", float64(f.Bytes)/1e6, float64(f.Allocated)/1e6); err != nil {
			return err
		}
	}
	return nil
}
