package kmod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ErrNotFound is returned (wrapped) for a name that is neither a module, nor
// built in, nor an alias of one.
var ErrNotFound = errors.New("no such module")

// ErrNoHardware is returned (wrapped) when the module's own init says ENODEV:
// the driver is fine and its device is not there.
var ErrNoHardware = errors.New("no such hardware")

// Tree is the module directory of one kernel release. It is safe for
// concurrent use.
type Tree struct {
	dir     string
	release string
	path    map[string]string   // module name -> path below dir
	deps    map[string][]string // module name -> all it needs, in load order
	pre     map[string][]string
	post    map[string][]string
	builtin map[string]bool
	aliases index
	// params and blacklist are of the kernel command line.
	params    map[string][]string
	blacklist map[string]bool

	insert func(file, params string) error

	mu   sync.Mutex
	idle *sync.Cond      // on mu: an insertion has ended
	busy map[string]bool // being inserted
	done map[string]bool
}

// Open reads ROOT/lib/modules/RELEASE. Only modules.dep must exist.
func Open(root, release string) (*Tree, error) {
	t := &Tree{
		dir: filepath.Join(root, "lib/modules", release), release: release,
		params: map[string][]string{}, blacklist: map[string]bool{}, done: map[string]bool{}, busy: map[string]bool{},
		insert: insertFile,
	}
	t.idle = sync.NewCond(&t.mu)
	dep, err := os.ReadFile(filepath.Join(t.dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("modules of kernel %s: %w (the image holds no modules for this kernel, or depmod was not run)", release, err)
	}
	t.path, t.deps, err = parseDep(string(dep))
	if err != nil {
		return nil, fmt.Errorf("%s/modules.dep: %w", t.dir, err)
	}
	t.pre, t.post = parseSoftdep(t.optional("modules.softdep"))
	t.builtin = parseBuiltin(t.optional("modules.builtin"))
	t.aliases.addAliases(t.optional("modules.alias"))
	t.aliases.addModinfo(t.optional("modules.builtin.modinfo"), t.builtin)
	return t, nil
}

// optional files are missing where a tree has nothing to say in them.
func (t *Tree) optional(name string) string {
	b, err := os.ReadFile(filepath.Join(t.dir, name))
	if err != nil {
		return ""
	}
	return string(b)
}

// UseKernelArgs takes "module.param=value" and "modprobe.blacklist=a,b" from a
// kernel command line (Documentation/admin-guide/kernel-parameters.rst). The
// blacklist concerns loading by alias only, as modprobe.d(5) has it.
func (t *Tree) UseKernelArgs(line string) {
	for _, word := range splitArgs(line) {
		if word == "--" { // what follows is init's
			return
		}
		key, value, _ := strings.Cut(word, "=")
		module, param, ok := strings.Cut(key, ".")
		if !ok || module == "" || param == "" {
			continue
		}
		module = canonical(module)
		switch {
		case module == "modprobe" && param == "blacklist":
			for _, m := range strings.Split(value, ",") {
				t.blacklist[canonical(m)] = true
			}
		case module == "kubesolo":
		default:
			t.params[module] = append(t.params[module], param+strings.TrimPrefix(word, key))
		}
	}
}

// splitArgs splits at blanks outside double quotes, as the kernel does.
func splitArgs(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}

// canonical is the kernel's own form of a name: "-" and "_" mean the same.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName is the name of a module file: kernel/net/foo-bar.ko.xz is foo_bar.
func moduleName(path string) string {
	base := filepath.Base(path)
	if i := strings.Index(base, ".ko"); i > 0 {
		base = base[:i]
	}
	return canonical(base)
}

// resolve gives the modules a name stands for: itself, or what its aliases name.
func (t *Tree) resolve(name string) (modules []string, builtin bool) {
	c := canonical(name)
	if _, ok := t.path[c]; ok {
		return []string{c}, false
	}
	if t.builtin[c] {
		return nil, true
	}
	for _, m := range t.aliases.lookup(normalizeAlias(name)) {
		switch {
		case t.builtin[m]:
			builtin = true
		case t.path[m] != "" && !t.blacklist[m]:
			modules = append(modules, m)
		}
	}
	return modules, builtin
}

// Plan lists the files that loading a name would load, in order, without
// regard to what is loaded already. It is empty for what is built in.
func (t *Tree) Plan(name string) ([]string, error) {
	modules, builtin := t.resolve(name)
	if len(modules) == 0 && !builtin {
		return nil, t.notFound(name)
	}
	var order []string
	seen := map[string]bool{}
	for _, m := range modules {
		t.order(m, seen, &order)
	}
	for i, m := range order {
		order[i] = filepath.Join(t.dir, t.path[m])
	}
	return order, nil
}

// order appends m after everything that must be there before it. Soft
// dependencies that do not exist are left out: that is what makes them soft.
func (t *Tree) order(m string, seen map[string]bool, out *[]string) {
	if seen[m] || t.path[m] == "" {
		return
	}
	seen[m] = true
	for _, d := range t.deps[m] {
		t.order(d, seen, out)
	}
	for _, d := range t.pre[m] {
		t.orderSoft(d, seen, out)
	}
	*out = append(*out, m)
	for _, d := range t.post[m] {
		t.orderSoft(d, seen, out)
	}
}

func (t *Tree) orderSoft(name string, seen map[string]bool, out *[]string) {
	modules, _ := t.resolve(name)
	for _, m := range modules {
		t.order(m, seen, out)
	}
}

func (t *Tree) notFound(name string) error {
	hint := "it is not in modules.dep, modules.builtin or modules.alias of kernel " + t.release
	if near := t.nearest(canonical(name)); near != "" {
		hint += fmt.Sprintf("; did you mean %s?", near)
	} else {
		hint += "; take the name out, or build an image with this module (kernel/modules.list)"
	}
	return fmt.Errorf("module %s: %w (%s)", name, ErrNotFound, hint)
}

// nearest finds a module that differs from name by one typing error.
func (t *Tree) nearest(name string) string {
	best := ""
	for m := range t.path {
		if oneEdit(m, name) && (best == "" || m < best) {
			best = m
		}
	}
	return best
}

// oneEdit tells whether a and b differ by one insertion, deletion or
// replacement of a byte.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(a) && a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}
