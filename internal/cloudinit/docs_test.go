package cloudinit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocumentedExamples parses every cloud-init example of the documents: one
// that a reader copies must be accepted whole.
func TestDocumentedExamples(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	total, atLeast := 0, map[string]int{"configuration.md": 1, "network.md": 6, "README.md": 1}
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples := examplesIn(string(text))
		if want := atLeast[filepath.Base(file)]; len(examples) < want {
			t.Errorf("%s: %d cloud-init examples, want at least %d", file, len(examples), want)
		}
		for i, example := range examples {
			if strings.Contains(example, "...") {
				continue // the reader's own, as a key
			}
			total++
			if _, warnings, err := Parse(CloudConfig, []byte(example)); err != nil || len(warnings) > 0 {
				t.Errorf("%s, example %d: %v %v\n%s", file, i+1, err, warnings, example)
			}
		}
	}
	if total < 11 {
		t.Errorf("%d cloud-init examples in %d documents", total, len(files)+1)
	}
}

// examplesIn finds the blocks of a Markdown text that begin with #cloud-config: those
// in fences, and those that are indented.
func examplesIn(text string) (examples []string) {
	for _, part := range strings.Split(text, "```yaml\n")[1:] {
		if example, _, ok := strings.Cut(part, "```"); ok && strings.HasPrefix(example, "#cloud-config") {
			examples = append(examples, example)
		}
	}
	const indent = "    "
	block := ""
	for line := range strings.Lines(text + "\n.\n") {
		rest, indented := strings.CutPrefix(line, indent)
		switch {
		case indented && strings.HasPrefix(rest, "#cloud-config"):
			if block != "" {
				examples = append(examples, block)
			}
			block = rest
		case indented && block != "":
			block += rest
		case block != "" && strings.TrimSpace(line) != "":
			examples, block = append(examples, block), ""
		case block != "":
			block += "\n"
		}
	}
	return examples
}
