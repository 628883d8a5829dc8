package house

import (
	"os/exec"
	"strings"
	"testing"
)

// TestProgramsLinkNothingOfTests: what only tests need is in go.mod too, so
// nothing but this keeps it out of an image.
func TestProgramsLinkNothingOfTests(t *testing.T) {
	banned := []string{"github.com/distribution/distribution/v3", module + "/internal/registrytest", "testing"}
	onNode := []string{module + "/internal/updatepush", "oras.land/oras-go/v2/content/oci"}
	for program, bans := range map[string][]string{
		"ksinit": append(onNode, banned...), "ksagent": append(onNode, banned...), "ksctl": append(onNode, banned...), "ksimage": banned,
	} {
		out, err := exec.Command("go", "list", "-deps", module+"/cmd/"+program).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for pkg := range strings.Lines(string(out)) {
			pkg = strings.TrimSpace(pkg)
			for _, ban := range bans {
				if pkg == ban || strings.HasPrefix(pkg, ban+"/") {
					t.Errorf("%s links %s, which is for the build host or for tests", program, pkg)
				}
			}
		}
	}
}
