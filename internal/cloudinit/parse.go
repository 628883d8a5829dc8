package cloudinit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
)

const (
	header  = "#cloud-config"
	maxSize = 512 << 10 // bytes; files are in it, and the largest CA bundles have half of that
)

// Warning is something in the document that has no effect.
type Warning struct {
	Line    int    `json:"line"`
	Message string `json:"message"`
}

func (w Warning) String() string { return fmt.Sprintf("line %d: %s", w.Line, w.Message) }

// Problem is a mistake in the document.
type Problem struct {
	Line    int    `json:"line"`
	Message string `json:"message"`
}

func (p Problem) Error() string { return fmt.Sprintf("line %d: %s", p.Line, p.Message) }

// Kind is what a document is; cloud-init's NoCloud volumes have all three.
type Kind string

// The kinds of documents.
const (
	CloudConfig   Kind = "cloud-config"   // user-data: begins with #cloud-config
	NetworkConfig Kind = "network-config" // netplan, with or without the key network
	MetaData      Kind = "meta-data"      // the name of the machine
)

// KindOf tells the kind by the file's name, which is how a volume says it.
func KindOf(path string) Kind {
	name := strings.ToLower(filepath.Base(path))
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml")
	if k := Kind(name); k == NetworkConfig || k == MetaData {
		return k
	}
	return CloudConfig
}

// Parse reads a document of the kind. The error, if any, joins every
// [Problem], one line each, in the order of lines; the Part then holds only
// what was right and is meant for display, not for use. Part.Source is left to
// the caller.
func Parse(kind Kind, b []byte) (part config.Part, warnings []Warning, err error) {
	// The YAML library has panicked on odd documents before, and a panic of
	// PID 1 is a kernel panic.
	defer func() {
		if p := recover(); p != nil {
			part, warnings, err = config.Part{}, nil, Problem{1, fmt.Sprintf("the YAML reader crashed on this document: %v", p)}
		}
	}()
	if len(b) > maxSize {
		return part, nil, Problem{1, fmt.Sprintf("the document has %d bytes, more than %d", len(b), maxSize)}
	}
	if kind == CloudConfig {
		if err := checkHeader(b); err != nil {
			return part, nil, err
		}
	}
	root, err := document(b)
	if err != nil || root == nil {
		return part, nil, err
	}
	w := &walker{}
	switch kind {
	case NetworkConfig:
		w.networkConfig(root, &part)
	case MetaData:
		w.metaData(root, &part)
	default:
		w.root(root, &part)
	}
	return part, w.said(), w.wrong()
}

// said gives the warnings in the order of lines.
func (w *walker) said() []Warning {
	if w.unsaid > 0 {
		w.warnings = append(w.warnings, Warning{w.firstUnsaid, fmt.Sprintf("%d more messages from here on are left out", w.unsaid)})
	}
	slices.SortStableFunc(w.warnings, func(a, b Warning) int { return a.Line - b.Line })
	return w.warnings
}

// wrong joins the problems in the order of lines.
func (w *walker) wrong() error {
	slices.SortStableFunc(w.problems, func(a, b Problem) int { return a.Line - b.Line })
	errs := make([]error, len(w.problems))
	for i, p := range w.problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// Problems takes apart what Parse returned.
func Problems(err error) []Problem {
	if one, ok := err.(Problem); ok {
		return []Problem{one}
	}
	var out []Problem
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			out = append(out, Problems(e)...)
		}
	}
	return out
}

func checkHeader(b []byte) error {
	line, _, _ := bytes.Cut(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), []byte("\n"))
	found := string(bytes.TrimRight(line, " \t\r"))
	if found == header {
		return nil
	}
	if len(found) > 40 {
		found = found[:40] + "..."
	}
	what := fmt.Sprintf("it is %q", found)
	if found == "" {
		what = "it is empty"
	}
	return Problem{1, fmt.Sprintf("the first line must be %q, but %s", header, what)}
}

// document returns the top of the only document, or nil when there is nothing
// but comments.
func document(b []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, notYAML(err, b)
	}
	if err := d.Decode(&more); err == nil {
		return nil, Problem{more.Line, "a second document (after ---) is not read; put everything into one"}
	} else if !errors.Is(err, io.EOF) {
		return nil, notYAML(err, b)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil, nil
	}
	return doc.Content[0], nil
}

// notYAML turns "yaml: line 3: text" into a Problem with a hint.
func notYAML(err error, doc []byte) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if n, scanErr := fmt.Sscanf(text, "line %d:", &line); n == 1 && scanErr == nil {
		_, text, _ = strings.Cut(text, ": ")
	}
	text, _, _ = strings.Cut(text, "\n")
	hint := "check the indentation (spaces only) and quote values that hold ': ' or start with a special character"
	switch {
	case strings.Contains(text, "cannot start any token"):
		hint = "indent with spaces, not tabs, and quote values that start with @, ` or %"
	case strings.Contains(text, "tab character"):
		hint = "indent with spaces"
		line = tabLine(doc, line)
	}
	return Problem{line, fmt.Sprintf("this is not YAML: %s; %s", text, hint)}
}

// tabLine is the first line from the given one on that is indented by a tab:
// the YAML reader names the line before it.
func tabLine(doc []byte, from int) int {
	n := 0
	for line := range bytes.Lines(doc) {
		n++
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if n >= from && bytes.ContainsRune(indent, '\t') {
			return n
		}
	}
	return from
}
