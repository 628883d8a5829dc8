package kmod

import (
	"fmt"
	"slices"
	"strings"
)

// parseDep reads modules.dep: "path: dep1 dep2 ..." where the dependencies are
// complete and ordered so that loading goes from the last to the first.
func parseDep(text string) (path map[string]string, deps map[string][]string, err error) {
	path, deps = map[string]string{}, map[string][]string{}
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			return nil, nil, fmt.Errorf("line %d has no colon", n)
		}
		name := moduleName(file)
		path[name] = file
		var list []string
		for d := range strings.FieldsSeq(rest) {
			list = append(list, moduleName(d))
		}
		slices.Reverse(list)
		if list != nil {
			deps[name] = list
		}
	}
	return path, deps, nil
}

// parseSoftdep reads "softdep NAME pre: a b post: c".
func parseSoftdep(text string) (pre, post map[string][]string) {
	pre, post = map[string][]string{}, map[string][]string{}
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "softdep" {
			continue
		}
		name := canonical(f[1])
		var into map[string][]string
		for _, w := range f[2:] {
			switch {
			case w == "pre:":
				into = pre
			case w == "post:":
				into = post
			case strings.HasSuffix(w, ":"):
				into = nil // a kind of a later depmod
			case into != nil:
				into[name] = append(into[name], w)
			}
		}
	}
	return pre, post
}

func parseBuiltin(text string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			out[moduleName(line)] = true
		}
	}
	return out
}

// index finds the aliases that match a name without trying all of them: an
// alias is filed under its text before the first wildcard.
type index struct {
	byPrefix map[string][]alias
}

type alias struct{ pattern, module string }

func (x *index) add(pattern, module string) {
	if x.byPrefix == nil {
		x.byPrefix = map[string][]alias{}
	}
	pattern = normalizeAlias(pattern)
	prefix := pattern
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		prefix = pattern[:i]
	}
	x.byPrefix[prefix] = append(x.byPrefix[prefix], alias{pattern, canonical(module)})
}

// addAliases reads "alias PATTERN MODULE" lines.
func (x *index) addAliases(text string) {
	for line := range strings.SplitSeq(text, "\n") {
		rest, ok := strings.CutPrefix(line, "alias ")
		if !ok {
			continue
		}
		if i := strings.LastIndexByte(rest, ' '); i > 0 {
			x.add(strings.TrimSpace(rest[:i]), strings.TrimSpace(rest[i+1:]))
		}
	}
}

// addModinfo reads modules.builtin.modinfo: NUL-terminated "module.key=value".
// Aliases of built-in modules make "modprobe ALIAS" a success. Modules that it
// alone names are added to builtin: modules.builtin lists only what could have
// been a module.
func (x *index) addModinfo(text string, builtin map[string]bool) {
	for rec := range strings.SplitSeq(text, "\x00") {
		module, rest, ok := strings.Cut(rec, ".")
		if !ok || module == "" {
			continue
		}
		builtin[canonical(module)] = true
		if pattern, ok := strings.CutPrefix(rest, "alias="); ok {
			x.add(pattern, module)
		}
	}
}

// lookup returns the modules of all aliases that match name, in the order of
// the files, each once.
func (x *index) lookup(name string) []string {
	var out []string
	for n := 0; n <= len(name); n++ {
		for _, a := range x.byPrefix[name[:n]] {
			if !slices.Contains(out, a.module) && match(a.pattern, name) {
				out = append(out, a.module)
			}
		}
	}
	return out
}

// normalizeAlias turns "-" into "_" outside of brackets, as depmod and modprobe
// do with patterns and names alike.
func normalizeAlias(s string) string {
	if !strings.Contains(s, "-") {
		return s
	}
	b := []byte(s)
	depth := false
	for i, c := range b {
		switch {
		case c == '[':
			depth = true
		case c == ']':
			depth = false
		case c == '-' && !depth:
			b[i] = '_'
		}
	}
	return string(b)
}

// match is fnmatch(3) without flags: "*", "?", "[a-z]", "[!x]" and a backslash.
// A slash is a character like any other.
func match(pattern, name string) bool {
	p, n := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, n
			p++
			continue
		}
		if w := matchOne(pattern[p:], name[n]); w > 0 {
			p += w
			n++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches one character and returns the length of the pattern element,
// 0 when it does not match.
func matchOne(pattern string, c byte) int {
	if pattern == "" {
		return 0
	}
	switch pattern[0] {
	case '?':
		return 1
	case '\\':
		if len(pattern) > 1 && pattern[1] == c {
			return 2
		}
		return 0
	case '[':
		if ok, width := matchClass(pattern, c); width > 0 {
			if ok {
				return width
			}
			return 0
		}
	}
	if pattern[0] == c {
		return 1
	}
	return 0
}

// matchClass reads "[...]"; width 0 says that the bracket is not closed, in
// which case it stands for itself.
func matchClass(pattern string, c byte) (ok bool, width int) {
	i := 1
	negate := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negate {
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return ok != negate, i + 1
		}
		lo := pattern[i]
		hi := lo
		if i+2 < len(pattern) && pattern[i+1] == '-' && pattern[i+2] != ']' {
			hi = pattern[i+2]
			i += 2
		}
		i++
		if lo <= c && c <= hi {
			ok = true
		}
	}
	return false, 0
}
