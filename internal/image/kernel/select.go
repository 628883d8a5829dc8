package kernel

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kubesolo.io/os/internal/image/tool"
)

// Wanted is one line of kernel/modules.list: a module's name, or with a slash in it a
// path pattern below kernel/ (path.Match), as in "drivers/virtio/*".
type Wanted struct {
	Pattern  string
	Optional bool // "?name": not every kernel has it
	Initrd   bool // "!name": needed before the root is mounted, so also in the initramfs
	Line     int
}

// ParseList reads kernel/modules.list: one pattern per line, `#` starts a comment, a
// leading `?` marks an optional and a leading `!` an initramfs module.
func ParseList(r io.Reader) ([]Wanted, error) {
	var list []Wanted
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		line, _, _ := strings.Cut(s.Text(), "#")
		for field := range strings.FieldsSeq(line) {
			w := Wanted{Line: n}
			for {
				if rest, ok := strings.CutPrefix(field, "?"); ok {
					w.Optional, field = true, rest
				} else if rest, ok := strings.CutPrefix(field, "!"); ok {
					w.Initrd, field = true, rest
				} else {
					break
				}
			}
			if _, err := path.Match(field, ""); err != nil || field == "" {
				return nil, fmt.Errorf("line %d: bad pattern %q", n, field)
			}
			w.Pattern = field
			list = append(list, w)
		}
	}
	return list, s.Err()
}

// Index is what depmod wrote about a module tree.
type Index struct {
	byName  map[string]string   // canonical name -> path below lib/modules/<release>
	deps    map[string][]string // path -> paths it depends on (all, not only direct)
	builtin map[string]bool     // canonical names
	soft    map[string][]string // canonical name -> names of its softdeps
	aliases map[string][]string // alias without wildcards -> canonical names
}

// canonical is the kernel's own spelling: dashes are underscores, no path, no suffix.
func canonical(name string) string {
	name = strings.TrimSuffix(path.Base(name), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// ReadIndex reads modules.dep, modules.builtin and modules.softdep from dir.
func ReadIndex(dir string) (*Index, error) {
	x := &Index{byName: map[string]string{}, deps: map[string][]string{}, builtin: map[string]bool{}, soft: map[string][]string{}, aliases: map[string][]string{}}
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(dep)) {
		file, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		x.byName[canonical(file)] = file
		x.deps[file] = strings.Fields(rest)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(builtin)) {
		x.builtin[canonical(strings.TrimSpace(line))] = true
	}
	// A softdep may be an alias: ext4 and libcrc32c ask for "crc32c", which several modules
	// provide. Without any of them libcrc32c, and with it nf_conntrack, fails to load.
	alias, err := os.ReadFile(filepath.Join(dir, "modules.alias"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for line := range strings.Lines(string(alias)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" && !strings.ContainsAny(f[1], "*?[") {
			name := canonical(f[1])
			x.aliases[name] = append(x.aliases[name], canonical(f[2]))
		}
	}
	soft, err := os.ReadFile(filepath.Join(dir, "modules.softdep"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for line := range strings.Lines(string(soft)) {
		f := strings.Fields(line) // softdep NAME pre: A B post: C
		if len(f) < 3 || f[0] != "softdep" {
			continue
		}
		for _, name := range f[2:] {
			if name != "pre:" && name != "post:" {
				x.soft[canonical(f[1])] = append(x.soft[canonical(f[1])], canonical(name))
			}
		}
	}
	return x, nil
}

// Selection is the outcome of Select: paths below lib/modules/<release>, sorted.
type Selection struct {
	Modules []string
	Initrd  []string // the part that the initramfs needs
	Absent  []string // optional names the kernel does not have
}

// Select resolves the list to module files with all their dependencies and those softdeps
// that exist. A name that is neither a module nor built in is an error, unless optional.
func (x *Index) Select(list []Wanted) (Selection, error) {
	all, initrd := map[string]bool{}, map[string]bool{}
	var sel Selection
	var missing []string
	for _, w := range list {
		files := x.match(w.Pattern)
		if len(files) == 0 && !x.builtin[canonical(w.Pattern)] {
			if w.Optional {
				sel.Absent = append(sel.Absent, w.Pattern)
			} else {
				missing = append(missing, fmt.Sprintf("%s (line %d)", w.Pattern, w.Line))
			}
		}
		for _, f := range files {
			x.add(all, f)
			if w.Initrd {
				x.add(initrd, f)
			}
		}
	}
	if len(missing) > 0 {
		return sel, fmt.Errorf("modules.list: this kernel has no module %s; mark what it may lack with a leading `?`",
			strings.Join(missing, ", "))
	}
	sel.Modules, sel.Initrd = sortedKeys(all), sortedKeys(initrd)
	return sel, nil
}

func (x *Index) match(pattern string) []string {
	if !strings.ContainsAny(pattern, "/*?[") {
		if f, ok := x.byName[canonical(pattern)]; ok {
			return []string{f}
		}
		return nil
	}
	var files []string
	for file := range x.deps {
		subject := strings.TrimPrefix(strings.TrimSuffix(file, ".ko"), "kernel/")
		if !strings.Contains(pattern, "/") {
			subject = path.Base(subject)
		}
		if ok, _ := path.Match(pattern, subject); ok { // checked by ParseList
			files = append(files, file)
		}
	}
	slices.Sort(files)
	return files
}

func (x *Index) add(set map[string]bool, file string) {
	if set[file] {
		return
	}
	set[file] = true
	for _, d := range x.deps[file] {
		x.add(set, d)
	}
	for _, name := range x.soft[canonical(file)] {
		for _, provider := range append([]string{name}, x.aliases[name]...) {
			if f, ok := x.byName[provider]; ok {
				x.add(set, f)
			}
		}
	}
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// indexFiles are what ksinit reads beside the modules themselves.
const indexFiles = "modules.dep modules.alias modules.softdep modules.builtin modules.builtin.modinfo"

// Subset copies the chosen modules of k into dir/lib/modules/<release>, indexes them there
// with depmod, and keeps only the index files that the node reads.
func Subset(ctx context.Context, run *tool.Runner, k Kernel, modules []string, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	from, to := k.ModulesDir(), filepath.Join(dir, "lib/modules", k.Release)
	for _, name := range append(slices.Clone(modules), "modules.builtin", "modules.builtin.modinfo", "modules.order") {
		b, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) && !strings.HasSuffix(name, ".ko") {
			continue
		}
		if err != nil {
			return err
		}
		if name == "modules.order" {
			b = keepLines(b, modules) // modules.order also decides the order of modules.dep
		}
		file := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			return err
		}
	}
	if err := depmod(ctx, run, dir, k.Release); err != nil {
		return err
	}
	entries, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !slices.Contains(strings.Fields(indexFiles), e.Name()) {
			if err := os.Remove(filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func keepLines(text []byte, keep []string) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		if slices.Contains(keep, strings.TrimSpace(string(line))) {
			b.Write(line)
		}
	}
	return b.Bytes()
}
