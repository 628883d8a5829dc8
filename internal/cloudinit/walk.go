package cloudinit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
)

// walker collects what is wrong while it goes over the nodes. Aliases are
// refused where a value is read, so no document is larger than it looks.
type walker struct {
	// tell, when it is set, makes the readers describe what they accept
	// instead of reading it: see [JSONSchema].
	tell     *Schema
	problems []Problem
	warnings []Warning
	// unsaid counts messages over the limit, firstUnsaid is the line of the
	// first of them.
	unsaid, firstUnsaid int
}

// mostMessages bounds each kind of message: nobody reads more, and a document
// of unknown keys only would take seconds to find the nearest names.
const mostMessages = 100

// key is one known key of a mapping: what reads its value, or later for one
// that this version only knows by name.
type key struct {
	name  string
	doc   string // one line on what it is for
	read  func(*yaml.Node)
	must  bool // a mapping without it is an error, which its reader gives
	later bool
}

func (w *walker) errorf(n *yaml.Node, format string, args ...any) {
	if w.full(n, len(w.problems)) {
		return
	}
	w.problems = append(w.problems, Problem{n.Line, fmt.Sprintf(format, args...)})
}

func (w *walker) warnf(n *yaml.Node, format string, args ...any) {
	if w.full(n, len(w.warnings)) {
		return
	}
	w.warnings = append(w.warnings, Warning{n.Line, fmt.Sprintf(format, args...)})
}

func (w *walker) full(n *yaml.Node, said int) bool {
	if said < mostMessages {
		return false
	}
	if w.unsaid == 0 {
		w.firstUnsaid = n.Line
	}
	w.unsaid++
	return true
}

// mapping reads n by its known keys; at is its path, "" for the document.
func (w *walker) mapping(n *yaml.Node, at string, keys ...key) {
	if w.tell != nil {
		w.tellKeys(keys)
		return
	}
	w.pairs(n, at, func(name string, k, v *yaml.Node) {
		path := join(at, name)
		i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
		switch {
		case i < 0:
			w.unknown(k, path, name, keys)
		case keys[i].later:
			w.warnf(k, "%s is not supported by this version; it has no effect", path)
		case isNull(v):
			w.warnf(k, "%s has no value; it has no effect", path)
		default:
			keys[i].read(v)
		}
	})
}

func (w *walker) unknown(k *yaml.Node, path, name string, keys []key) {
	hint := ""
	if len(w.warnings) < mostMessages {
		hint = didYouMean(name, keys)
	}
	w.warnf(k, "unknown key %s%s", shown(path), hint)
}

// entries calls f for every key of a mapping whose keys are names of the
// document's own choice; valid says which names may be.
func (w *walker) entries(n *yaml.Node, at string, valid func(string) error, f func(name string, k, v *yaml.Node)) {
	if w.tell != nil {
		w.tellEntries(f)
		return
	}
	w.pairs(n, at, func(name string, k, v *yaml.Node) {
		if err := valid(name); err != nil {
			w.errorf(k, "%s: %v", at, err)
			return
		}
		f(name, k, v)
	})
}

// pairs calls f for every key of a mapping, once.
func (w *walker) pairs(n *yaml.Node, at string, f func(name string, k, v *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		w.wrongType(n, at, "a mapping (key: value lines)")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			w.errorf(k, "%sa key must be a plain word", inside(at))
		case k.Tag == "!!merge":
			w.errorf(k, "%smerge keys (<<) are not supported; write the keys out", inside(at))
		case seen[k.Value] != 0:
			w.errorf(k, "%s is there twice, first in line %d", shown(join(at, k.Value)), seen[k.Value])
		default:
			seen[k.Value] = k.Line
			f(k.Value, k, v)
		}
	}
}

// list calls f for every element.
func (w *walker) list(n *yaml.Node, at string, f func(*yaml.Node)) {
	if w.tell != nil {
		w.tellItems(f)
		return
	}
	if n.Kind != yaml.SequenceNode {
		w.wrongType(n, at, "a list (- value lines)")
		return
	}
	for _, e := range n.Content {
		f(e)
	}
}

func (w *walker) wrongType(n *yaml.Node, at, want string) {
	name := "the document"
	if at != "" {
		name = at
	}
	w.errorf(n, "%s must be %s, but it is %s", shown(name), want, kindOf(n))
}

// text reads a string. A number or truth value must be quoted, since YAML
// would have changed it (1.10 is 1.1).
func (w *walker) text(n *yaml.Node, at string) (string, bool) {
	if w.told("string") {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		want := "a string"
		if n.Kind == yaml.ScalarNode {
			want = "a string (put it in quotes)"
		}
		w.wrongType(n, at, want)
		return "", false
	}
	return n.Value, true
}

// plain reads any scalar as it is written.
func (w *walker) plain(n *yaml.Node, at string) (string, bool) {
	if w.told("string", "number", "boolean") {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		w.wrongType(n, at, "a single value")
		return "", false
	}
	return n.Value, true
}

func (w *walker) texts(n *yaml.Node, at string, check func(string) error) []string {
	out := []string{}
	w.list(n, at, func(e *yaml.Node) {
		if s, ok := w.checked(e, at, check); ok {
			out = append(out, s)
		}
	})
	return out
}

func (w *walker) checked(n *yaml.Node, at string, check func(string) error) (string, bool) {
	s, ok := w.text(n, at)
	if ok && check != nil {
		if err := check(s); err != nil {
			w.errorf(n, "%s: %v", at, err)
			return "", false
		}
	}
	return s, ok
}

func (w *walker) boolean(n *yaml.Node, at string) (bool, bool) {
	if w.told("boolean") {
		return false, false
	}
	v, err := strconv.ParseBool(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || err != nil {
		w.wrongType(n, at, "true or false")
		return false, false
	}
	return v, true
}

func (w *walker) number(n *yaml.Node, at string) (int, bool) {
	if w.told("integer") {
		return 0, false
	}
	v, err := strconv.ParseInt(n.Value, 0, 32)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil {
		w.wrongType(n, at, "a whole number")
		return 0, false
	}
	return int(v), true
}

// The functions below make readers for fields of a Part.

func (w *walker) intoText(dst **string, at string, check func(string) error) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if s, ok := w.checked(n, at, check); ok {
			*dst = &s
		}
	}
}

// intoSecret reads a value that no message may show.
func (w *walker) intoSecret(dst **config.Secret, at string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if s, ok := w.text(n, at); ok {
			*dst = new(config.Secret(s))
		}
	}
}

func (w *walker) intoBool(dst **bool, at string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if v, ok := w.boolean(n, at); ok {
			*dst = &v
		}
	}
}

// intoRange reads a whole number from lo to hi.
func (w *walker) intoRange(dst **int, at string, lo, hi int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if w.tell != nil {
			w.tell.Minimum, w.tell.Maximum = &lo, &hi
		}
		v, ok := w.number(n, at)
		if !ok {
			return
		}
		if v < lo || v > hi {
			w.errorf(n, "%s: %d is not between %d and %d", at, v, lo, hi)
			return
		}
		*dst = &v
	}
}

// choice reads one of the values.
func (w *walker) choice(n *yaml.Node, at string, values []string) (string, bool) {
	if w.tell != nil {
		w.tell.Enum = values
	}
	if w.told("string") {
		return "", false
	}
	s, ok := w.plain(n, at)
	if ok && !slices.Contains(values, s) {
		w.errorf(n, "%s: %s is not one of %s", at, shown(s), strings.Join(values, ", "))
		return "", false
	}
	return s, ok
}

// span reads a length of time and gives it in units: a bare number counts
// units, and a number with ms or s is what it says (netplan's rule).
func (w *walker) span(n *yaml.Node, at string, unit time.Duration) (int, bool) {
	if w.told("integer", "string") {
		return 0, false
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		v, ok := w.number(n, at)
		if ok && v < 0 {
			w.errorf(n, "%s: %d is negative", at, v)
		}
		return v, ok && v >= 0
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || d < 0 || d%unit != 0 || d > time.Hour {
		w.errorf(n, "%s: %s is not a length of time such as 100ms or 2s", at, shown(n.Value))
		return 0, false
	}
	return int(d / unit), true
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (*name), which is not supported; write the value out"
	}
	switch n.Tag {
	case "!!str":
		return "a string"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "empty"
	case "!!timestamp":
		return "a date"
	}
	return "a value of another type"
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func inside(at string) string {
	if at == "" {
		return ""
	}
	return "in " + shown(at) + ": "
}

// shown keeps a name from the document on one line of bounded length.
func shown(name string) string {
	const limit = 100
	if len(name) > limit {
		name = name[:limit] + "..."
	}
	q := strconv.Quote(name)
	if q == `"`+name+`"` {
		return name
	}
	return q
}
