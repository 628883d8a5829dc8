package cmdline

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedArguments: the table of docs/configuration.md has a row for
// every argument, and none for others.
func TestDocumentedArguments(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "| `"+prefix); ok {
			name, _, _ := strings.Cut(rest, "`")
			rows[strings.TrimSuffix(name, "=")] = true
		}
	}
	for _, name := range known() {
		if !rows[name] {
			t.Errorf("%s%s has no row", prefix, name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("%s%s has a row but is not known", prefix, name)
	}
}
