package cloudinit

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedExamples parses every cloud-init example of the documents: one
// that a reader copies must be accepted whole.
func TestDocumentedExamples(t *testing.T) {
	for file, atLeast := range map[string]int{"../../docs/configuration.md": 1, "../../docs/network.md": 6, "../../README.md": 1} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples := 0
		for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
			example, _, ok := strings.Cut(part, "```")
			if !ok || !strings.HasPrefix(example, "#cloud-config") {
				continue
			}
			examples++
			_, warnings, err := Parse(CloudConfig, []byte(example))
			if err != nil || len(warnings) > 0 {
				t.Errorf("%s, example %d: %v %v", file, examples, err, warnings)
			}
		}
		if examples < atLeast {
			t.Errorf("%s: %d cloud-init examples, want at least %d", file, examples, atLeast)
		}
	}
}
