// Package tree is the root file system as data: paths with type, mode and content,
// built and changed in memory so that no step needs root or touches foreign modes.
//
// It reads cpio archives (core.gz) and directories, answers questions about paths
// (links resolved inside the tree), and writes tar (for mksquashfs) and cpio records
// (for the initramfs). Owner and group of everything are 0:0 and times are the build's.
// It never runs a program. Tested by round trips and golden listings.
package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
)

// Content is the data of a regular file. Open may be called many times.
type Content interface {
	Open() (io.ReadCloser, error)
	Size() int64
}

// Bytes is content held in memory.
type Bytes []byte

// Open returns a reader of the bytes.
func (b Bytes) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }

// Size is the number of bytes.
func (b Bytes) Size() int64 { return int64(len(b)) }

// Host is the content of a file of the build host.
type Host struct {
	Path  string
	bytes int64
}

// HostFile returns the content of a regular file of the build host.
func HostFile(name string) (Host, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return Host{}, err
	}
	if !fi.Mode().IsRegular() {
		return Host{}, fmt.Errorf("%s: not a regular file", name)
	}
	return Host{Path: name, bytes: fi.Size()}, nil
}

// Open opens the file.
func (h Host) Open() (io.ReadCloser, error) { return os.Open(h.Path) }

// Size is the file's size when it was added.
func (h Host) Size() int64 { return h.bytes }

// Node is one entry. Mode holds the type and permission bits (with set-uid, set-gid and
// sticky). Target is a symbolic link's target, Major and Minor a device's numbers.
// Origin says which part of the image brought it, for the table of sizes.
type Node struct {
	Mode         fs.FileMode
	Target       string
	Major, Minor uint32
	Data         Content
	Origin       string
}

// Tree maps clean relative paths ("usr/bin/env") to nodes. The root directory is
// implied, mode 0755.
type Tree struct {
	nodes map[string]*Node
}

// New returns an empty tree.
func New() *Tree { return &Tree{nodes: map[string]*Node{}} }

// ErrKind is wrapped when an entry would replace one of another kind.
var ErrKind = errors.New("another kind of entry is there")

func clean(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

// Get returns the node at p (no link is followed) or nil.
func (t *Tree) Get(p string) *Node { return t.nodes[clean(p)] }

// Len is the number of entries.
func (t *Tree) Len() int { return len(t.nodes) }

// Paths returns all paths, sorted, parents before their children.
func (t *Tree) Paths() []string {
	paths := make([]string, 0, len(t.nodes))
	for p := range t.nodes {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	return paths
}

// Put places n at p and makes missing parents (0755). Parents that are symbolic links
// inside the tree are followed, so "lib64/x" lands where lib64 points to. An entry of the
// same kind is replaced; one of another kind is an error, except that a directory put on
// a directory (or on a link to one) changes nothing but its mode.
func (t *Tree) Put(p string, n Node) error {
	p = clean(p)
	if p == "" {
		return nil
	}
	parent, err := t.makeParents(path.Dir(p), n.Origin)
	if err != nil {
		return fmt.Errorf("add /%s: %w", p, err)
	}
	p = clean(path.Join(parent, path.Base(p)))
	if old := t.nodes[p]; old != nil {
		if n.Mode.IsDir() && old.Mode&fs.ModeSymlink != 0 {
			if _, target := t.Resolve(p); target != nil && target.Mode.IsDir() {
				return nil
			}
		}
		if old.Mode.IsDir() != n.Mode.IsDir() {
			return fmt.Errorf("add /%s (%s) over %s: %w", p, n.Mode.Type(), old.Mode.Type(), ErrKind)
		}
	}
	t.nodes[p] = &n
	return nil
}

func (t *Tree) makeParents(dir, origin string) (string, error) {
	if dir == "." || dir == "/" || dir == "" {
		return "", nil
	}
	real, node := t.Resolve(dir)
	if node != nil {
		if !node.Mode.IsDir() {
			return "", fmt.Errorf("/%s is not a directory: %w", real, ErrKind)
		}
		return real, nil
	}
	if err := t.Put(dir, Node{Mode: fs.ModeDir | 0o755, Origin: origin}); err != nil {
		return "", err
	}
	real, _ = t.Resolve(dir)
	return real, nil
}

// Dir makes the directory p with mode perm.
func (t *Tree) Dir(p string, perm fs.FileMode, origin string) error {
	return t.Put(p, Node{Mode: fs.ModeDir | perm, Origin: origin})
}

// File places a regular file.
func (t *Tree) File(p string, perm fs.FileMode, data Content, origin string) error {
	return t.Put(p, Node{Mode: perm, Data: data, Origin: origin})
}

// Link places a symbolic link.
func (t *Tree) Link(p, target, origin string) error {
	return t.Put(p, Node{Mode: fs.ModeSymlink | 0o777, Target: target, Origin: origin})
}

// Device places a character device.
func (t *Tree) Device(p string, perm fs.FileMode, major, minor uint32, origin string) error {
	return t.Put(p, Node{Mode: fs.ModeDevice | fs.ModeCharDevice | perm, Major: major, Minor: minor, Origin: origin})
}

// Remove takes p and everything below it out, and says how many entries that were.
func (t *Tree) Remove(p string) int {
	p = clean(p)
	count := 0
	for q := range t.nodes {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(t.nodes, q)
			count++
		}
	}
	return count
}

// Resolve follows symbolic links as the kernel would with this tree as the root. It
// returns the real path and its node, or nil when nothing is there or links go round.
func (t *Tree) Resolve(p string) (string, *Node) {
	todo := strings.Split(clean(p), "/")
	at := ""
	for hops := 0; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			at = clean(path.Dir("/" + at))
			continue
		}
		candidate := clean(path.Join(at, next))
		n := t.nodes[candidate]
		if n == nil {
			return clean(path.Join(append([]string{candidate}, todo...)...)), nil
		}
		if n.Mode&fs.ModeSymlink == 0 {
			at = candidate
			continue
		}
		if hops++; hops > 40 { // the kernel's MAXSYMLINKS
			return candidate, nil
		}
		if path.IsAbs(n.Target) {
			at = ""
		}
		todo = append(strings.Split(n.Target, "/"), todo...)
	}
	if at == "" {
		return "", &Node{Mode: fs.ModeDir | 0o755}
	}
	return at, t.nodes[at]
}

// ReadFile returns the content of the regular file p, links followed.
func (t *Tree) ReadFile(p string) ([]byte, error) {
	_, n := t.Resolve(p)
	if n == nil || n.Data == nil {
		return nil, &fs.PathError{Op: "read", Path: p, Err: fs.ErrNotExist}
	}
	r, err := n.Data.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // read only
	return io.ReadAll(r)
}

// List writes the tree as text, one line per entry, for golden files:
// mode, size, path, target. Sizes of files are left out when sizes is false.
func (t *Tree) List(w io.Writer, sizes bool) error {
	for _, p := range t.Paths() {
		n := t.nodes[p]
		line := fmt.Sprintf("%s /%s", n.Mode, p)
		switch {
		case n.Mode&fs.ModeSymlink != 0:
			line += " -> " + n.Target
		case n.Mode&fs.ModeDevice != 0:
			line += fmt.Sprintf(" %d:%d", n.Major, n.Minor)
		case n.Data != nil && sizes:
			line += fmt.Sprintf(" %d", n.Data.Size())
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
