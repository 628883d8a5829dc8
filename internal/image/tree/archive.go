package tree

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/u-root/u-root/pkg/cpio"
)

// WriteTar writes the tree as a tar stream, sorted, owner 0:0, every time = mtime.
func (t *Tree) WriteTar(w io.Writer, mtime time.Time) error {
	tw := tar.NewWriter(w)
	for _, p := range t.Paths() {
		n := t.nodes[p]
		h := &tar.Header{Name: p, Mode: int64(unixPermissions(n.Mode)), ModTime: mtime, Format: tar.FormatPAX}
		switch {
		case n.Mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, p+"/"
		case n.Mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, n.Target
		case n.Mode&fs.ModeCharDevice != 0:
			h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(n.Major), int64(n.Minor)
		case n.Mode.IsRegular():
			h.Typeflag, h.Size = tar.TypeReg, n.Data.Size()
		default:
			return fmt.Errorf("tar: /%s: cannot store a %s", p, n.Mode.Type())
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("tar: /%s: %w", p, err)
		}
		if n.Mode.IsRegular() {
			if err := copyContent(tw, n.Data); err != nil {
				return fmt.Errorf("tar: /%s: %w", p, err)
			}
		}
	}
	return tw.Close()
}

func copyContent(w io.Writer, c Content) error {
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // read only
	_, err = io.Copy(w, r)
	return err
}

func unixPermissions(m fs.FileMode) uint32 {
	perm := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		perm |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		perm |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		perm |= 0o1000
	}
	return perm
}

func modeFromUnix(m uint64) (fs.FileMode, bool) {
	mode := fs.FileMode(m & 0o777)
	if m&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	switch m & cpio.S_IFMT {
	case cpio.S_IFDIR:
		mode |= fs.ModeDir
	case cpio.S_IFLNK:
		mode |= fs.ModeSymlink
	case cpio.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case cpio.S_IFBLK:
		mode |= fs.ModeDevice
	case cpio.S_IFREG:
	default:
		return 0, false // FIFOs and sockets: made by whoever uses them, at run time
	}
	return mode, true
}

// ReadCPIO adds every entry of an uncompressed newc archive, with its modes. Hard links
// become files with the same content; FIFOs and sockets are left out.
func (t *Tree) ReadCPIO(r io.ReaderAt, origin string) error {
	links := map[uint64]Content{}
	var empty []string
	inode := map[string]uint64{}
	rr := cpio.EOFReader{RecordReader: cpio.Newc.Reader(r)}
	err := cpio.ForEachRecord(rr, func(rec cpio.Record) error {
		mode, ok := modeFromUnix(rec.Mode)
		name := clean(rec.Name)
		if !ok || name == "" {
			return nil
		}
		n := Node{Mode: mode, Major: uint32(rec.Rmajor), Minor: uint32(rec.Rminor), Origin: origin}
		if mode.IsRegular() || mode&fs.ModeSymlink != 0 {
			// Read to the end instead of allocating what the header claims.
			data, err := io.ReadAll(io.NewSectionReader(rec, 0, int64(rec.FileSize)))
			if err != nil {
				return fmt.Errorf("cpio: /%s: %w", name, err)
			}
			if uint64(len(data)) != rec.FileSize {
				return fmt.Errorf("cpio: /%s: archive ends inside the file", name)
			}
			if mode.IsRegular() {
				n.Data = Bytes(data)
				// Of a hard-linked set only the last record carries the data.
				if rec.NLink > 1 && len(data) > 0 {
					links[rec.Ino] = n.Data
				} else if rec.NLink > 1 {
					empty = append(empty, name)
					inode[name] = rec.Ino
				}
			} else {
				n.Target = string(data)
			}
		}
		return t.Put(name, n)
	})
	if err != nil {
		return err
	}
	for _, name := range empty {
		if data, ok := links[inode[name]]; ok && t.nodes[name] != nil {
			t.nodes[name].Data = data
		}
	}
	return nil
}

// Records returns the tree as cpio records: reproducible (no times, owner 0:0), parents
// first. Contents of Host files stay on disk.
func (t *Tree) Records() ([]cpio.Record, error) {
	records := make([]cpio.Record, 0, len(t.nodes))
	for _, p := range t.Paths() {
		n := t.nodes[p]
		perm := uint64(unixPermissions(n.Mode))
		switch {
		case n.Mode.IsDir():
			records = append(records, cpio.Directory(p, perm))
		case n.Mode&fs.ModeSymlink != 0:
			records = append(records, cpio.Symlink(p, n.Target))
		case n.Mode&fs.ModeCharDevice != 0:
			records = append(records, cpio.CharDev(p, perm, uint64(n.Major), uint64(n.Minor)))
		case n.Mode.IsRegular():
			rec, err := fileRecord(p, perm, n.Data)
			if err != nil {
				return nil, fmt.Errorf("cpio: /%s: %w", p, err)
			}
			records = append(records, rec)
		default:
			return nil, fmt.Errorf("cpio: /%s: cannot store a %s", p, n.Mode.Type())
		}
	}
	cpio.MakeAllReproducible(records)
	for i := range records {
		records[i].Ino = uint64(i + 1) // every entry its own inode: no accidental hard links
		records[i].NLink = 1
	}
	return records, nil
}

func fileRecord(p string, perm uint64, c Content) (cpio.Record, error) {
	if h, ok := c.(Host); ok {
		return cpio.Record{ReaderAt: lateFile(h.Path),
			Info: cpio.Info{Name: p, Mode: cpio.S_IFREG | perm, FileSize: uint64(h.Size())}}, nil
	}
	r, err := c.Open()
	if err != nil {
		return cpio.Record{}, err
	}
	defer func() { _ = r.Close() }() // read only
	data, err := io.ReadAll(r)
	if err != nil {
		return cpio.Record{}, err
	}
	return cpio.StaticRecord(data, cpio.Info{Name: p, Mode: cpio.S_IFREG | perm}), nil
}

// lateFile opens its file for each read, so that an archive of many files needs no open ones.
type lateFile string

func (name lateFile) ReadAt(p []byte, off int64) (int, error) {
	f, err := os.Open(string(name))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // read only
	return f.ReadAt(p, off)
}

// AddDir adds the files of a host directory below at, with the permission bits
// normalised to 0755 (directories, and files that are executable) or 0644.
func (t *Tree) AddDir(dir, at, origin string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		to := clean(filepath.Join(at, rel))
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case to == "":
			return nil
		case fi.IsDir():
			if _, old := t.Resolve(to); old != nil && old.Mode.IsDir() {
				return nil
			}
			return t.Dir(to, 0o755, origin)
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return t.Link(to, target, origin)
		case fi.Mode().IsRegular():
			perm := fs.FileMode(0o644)
			if fi.Mode()&0o111 != 0 {
				perm = 0o755
			}
			data, err := HostFile(name)
			if err != nil {
				return err
			}
			return t.File(to, perm, data, origin)
		}
		return fmt.Errorf("%s: cannot store a %s", name, fi.Mode().Type())
	})
}

// Hash is the SHA-256 of the whole tree (paths, modes, targets, contents), in hex.
func (t *Tree) Hash() (string, error) {
	h := sha256.New()
	if err := t.WriteTar(h, time.Unix(0, 0)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
