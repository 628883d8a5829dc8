// Package elfcheck proves that every ELF file of a root can start in that root.
//
// For each one: its interpreter is there, every needed library is found where that
// loader looks, all symbol versions it needs are provided, and loader and libc are of
// one glibc. That is the class of fault that a peer met as "dual glibc": copied binaries
// beside another C library. It only reads. Tested with the host's own binaries in small
// trees, complete and with parts missing.
package elfcheck

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"kubesolo.io/os/internal/image/tree"
)

// Problem is one reason why a file cannot run, or could run with the wrong C library.
type Problem struct {
	Path string
	Text string
}

func (p Problem) String() string { return "/" + p.Path + ": " + p.Text }

// Report is what Check saw.
type Report struct {
	Static, Dynamic, Libraries int
	LibC                       []string // "/path version" of each C library in use
	Problems                   []Problem
}

// Err is nil when there are no problems, else one error that lists them.
func (r Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	lines := make([]string, 0, len(r.Problems))
	for _, p := range r.Problems {
		lines = append(lines, p.String())
	}
	return fmt.Errorf("%d ELF files cannot run in this root:\n    %s", len(r.Problems), strings.Join(lines, "\n    "))
}

type object struct {
	path     string
	interp   string
	needed   []string
	search   []string // DT_RPATH or DT_RUNPATH with $ORIGIN put in
	rpath    bool     // search is DT_RPATH: valid for the libraries of an executable too
	machine  elf.Machine
	provides []string // symbol versions defined
	requires map[string][]string
	library  bool // has a name of its own (DT_SONAME): libc.so.6 can be run, but is not here
}

// Check inspects every regular file of root that starts with the ELF magic. Kernel
// modules (relocatable objects) are left out.
func Check(root *tree.Tree) (Report, error) {
	var report Report
	objects := map[string]*object{}
	var order []string
	for _, p := range root.Paths() {
		n := root.Get(p)
		if !n.Mode.IsRegular() || strings.HasSuffix(p, ".ko") {
			continue
		}
		o, err := read(p, n.Data)
		if err != nil {
			return report, fmt.Errorf("/%s: %w", p, err)
		}
		if o != nil {
			objects[p] = o
			order = append(order, p)
		}
	}
	libcs := map[string]bool{}
	for _, p := range order {
		o := objects[p]
		switch {
		case o.library:
			report.Libraries++
			continue // judged with the programs that load it
		case o.interp != "":
			report.Dynamic++
		default:
			report.Static++
			continue
		}
		c := checker{root: root, objects: objects, program: o}
		report.Problems = append(report.Problems, c.judge()...)
		if c.libc != "" {
			libcs[c.libc] = true
		}
	}
	for l := range libcs {
		report.LibC = append(report.LibC, l)
	}
	slices.Sort(report.LibC)
	return report, nil
}

func read(p string, data tree.Content) (*object, error) {
	rc, err := data.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = rc.Close() }() // read only
	ra, ok := rc.(io.ReaderAt)
	if !ok {
		b, err := io.ReadAll(rc)
		if err != nil {
			return nil, err
		}
		ra = bytes.NewReader(b)
	}
	var magic [4]byte
	if _, err := ra.ReadAt(magic[:], 0); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil, nil
	}
	f, err := elf.NewFile(ra)
	if err != nil {
		return nil, fmt.Errorf("damaged ELF file: %w", err)
	}
	if f.Type == elf.ET_REL {
		return nil, nil
	}
	return describe(p, f)
}

func describe(p string, f *elf.File) (*object, error) {
	o := &object{path: p, machine: f.Machine, requires: map[string][]string{}}
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			b, err := io.ReadAll(prog.Open())
			if err != nil {
				return nil, err
			}
			o.interp = strings.TrimRight(string(b), "\x00")
		}
	}
	soname, _ := f.DynString(elf.DT_SONAME)
	o.library = len(soname) > 0
	// A static binary has no dynamic section: these then return nothing.
	o.needed, _ = f.DynString(elf.DT_NEEDED)
	paths, _ := f.DynString(elf.DT_RUNPATH)
	if len(paths) == 0 {
		paths, _ = f.DynString(elf.DT_RPATH)
		o.rpath = len(paths) > 0
	}
	for _, list := range paths {
		for dir := range strings.SplitSeq(list, ":") {
			dir = strings.ReplaceAll(strings.ReplaceAll(dir, "${ORIGIN}", "$ORIGIN"), "$ORIGIN", "/"+path.Dir(p))
			o.search = append(o.search, dir)
		}
	}
	if f.SectionByType(elf.SHT_GNU_VERDEF) != nil {
		versions, err := f.DynamicVersions()
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			o.provides = append(o.provides, v.Name)
		}
	}
	if f.SectionByType(elf.SHT_GNU_VERNEED) != nil {
		needs, err := f.DynamicVersionNeeds()
		if err != nil {
			return nil, err
		}
		for _, need := range needs {
			for _, v := range need.Needs {
				o.requires[need.Name] = append(o.requires[need.Name], v.Dep)
			}
		}
	}
	return o, nil
}

// glibcVersion finds the version in a loader's or libc's own banner. Both say
// "... stable release version 2.36."; development versions say "development release".
var glibcVersion = regexp.MustCompile(`(?:stable|development) release version (\d+\.\d+)`)

func versionOf(root *tree.Tree, p string) string {
	b, err := root.ReadFile(p)
	if err != nil {
		return ""
	}
	m := glibcVersion.FindSubmatch(b)
	if m == nil {
		return ""
	}
	return string(m[1])
}

type checker struct {
	root    *tree.Tree
	objects map[string]*object
	program *object
	libc    string
}

func (c *checker) problem(format string, args ...any) []Problem {
	return []Problem{{Path: c.program.path, Text: fmt.Sprintf(format, args...)}}
}

func (c *checker) judge() []Problem {
	loader, libraries, problems := c.load()
	if loader == "" {
		return problems
	}
	if libc := libraries["libc.so.6"]; libc != nil {
		have, want := versionOf(c.root, "/"+libc.path), versionOf(c.root, "/"+loader)
		c.libc = "/" + libc.path + " " + have
		if want != "" && have != want {
			problems = append(problems, c.problem("loader /%s is glibc %s, but /%s is glibc %s: two C libraries",
				loader, want, libc.path, have)...)
		}
	}
	return problems
}

// load does what the loader does at the start of the program: it finds every needed
// library, breadth first, and checks the symbol versions. It returns the loader's real
// path ("" when it cannot run) and the libraries by their names.
func (c *checker) load() (string, map[string]*object, []Problem) {
	loader, n := c.root.Resolve(c.program.interp)
	if n == nil || !n.Mode.IsRegular() {
		return "", nil, c.problem("its interpreter %s is not in the root", c.program.interp)
	}
	if n.Mode&0o111 == 0 {
		return "", nil, c.problem("its interpreter %s is not executable", c.program.interp)
	}
	dirs := loaderDirs(loader, c.root)
	libraries := map[string]*object{}
	if o := c.objects[loader]; o != nil {
		libraries[path.Base(c.program.interp)] = o // loaded already, known by its own name
	}
	var problems []Problem
	todo := []*object{c.program}
	for len(todo) > 0 {
		o := todo[0]
		todo = todo[1:]
		for _, name := range o.needed {
			lib := libraries[name]
			if lib == nil {
				lib = c.find(name, o, dirs)
				if lib == nil {
					problems = append(problems, c.problem("%s needs %s, which is in none of %s", base(o, c.program), name,
						strings.Join(append(slices.Clone(c.searchOf(o)), dirs...), ":"))...)
					continue
				}
				libraries[name] = lib
				todo = append(todo, lib)
			}
			for _, v := range o.requires[name] {
				if !slices.Contains(lib.provides, v) {
					problems = append(problems, c.problem("%s needs %s of %s, but /%s does not have it",
						base(o, c.program), v, name, lib.path)...)
				}
			}
		}
	}
	return loader, libraries, problems
}

// Needs returns the loader (real path) and the libraries (real paths by the names they are
// asked for) of the dynamic program at path p of root.
func Needs(root *tree.Tree, p string) (loader string, libraries map[string]string, err error) {
	objects := map[string]*object{}
	for _, q := range root.Paths() {
		n := root.Get(q)
		if !n.Mode.IsRegular() {
			continue
		}
		o, err := read(q, n.Data)
		if err != nil {
			return "", nil, fmt.Errorf("/%s: %w", q, err)
		}
		if o != nil {
			objects[q] = o
		}
	}
	real, _ := root.Resolve(p)
	program := objects[real]
	if program == nil || program.interp == "" {
		return "", nil, fmt.Errorf("/%s: not a dynamic program", p)
	}
	c := checker{root: root, objects: objects, program: program}
	loader, found, problems := c.load()
	if len(problems) > 0 {
		return "", nil, Report{Problems: problems}.Err()
	}
	libraries = map[string]string{}
	for name, o := range found {
		libraries[name] = o.path
	}
	return loader, libraries, nil
}

func base(o, program *object) string {
	if o == program {
		return "it"
	}
	return "/" + o.path
}

// loaderDirs is where a loader looks without LD_LIBRARY_PATH and without a cache
// (the image has no ld.so.cache). Debian's looks in the multiarch directories first;
// which loader is Debian's is told by the banner it prints.
func loaderDirs(loader string, root *tree.Tree) []string {
	b, err := root.ReadFile("/" + loader)
	if err == nil && bytes.Contains(b, []byte("/lib/x86_64-linux-gnu/")) {
		return []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"}
	}
	return []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"}
}

func (c *checker) searchOf(o *object) []string {
	dirs := slices.Clone(o.search)
	if o != c.program && c.program.rpath {
		dirs = append(dirs, c.program.search...)
	}
	return dirs
}

func (c *checker) find(name string, from *object, dirs []string) *object {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, d := range append(c.searchOf(from), dirs...) {
			candidates = append(candidates, path.Join(d, name))
		}
	}
	for _, p := range candidates {
		real, n := c.root.Resolve(p)
		if n == nil || n.Mode&fs.ModeType != 0 {
			continue
		}
		if o := c.objects[real]; o != nil && o.machine == c.program.machine {
			return o
		}
	}
	return nil
}
