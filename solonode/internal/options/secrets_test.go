package options

import (
	"fmt"
	"strings"
	"testing"
)

// TestSecretsAreNotSaid: an edge key is told to this program also where it has
// no use for it, and must not come back in a notice, an error or the options.
func TestSecretsAreNotSaid(t *testing.T) {
	const planted = "PLANTED-7f3a"
	env := map[string]string{"KUBESOLO_PORTAINER_EDGE_KEY": planted, "KUBESOLO_PORTAINER_EDGE_ID": "edge-1"}
	opts, err := parse(t, env)
	if err != nil || len(opts.Notices) != 2 {
		t.Fatalf("notices %q, error %v", opts.Notices, err)
	}
	_, refused := parse(t, env, "--mtu=many")
	if refused == nil {
		t.Fatal("a bad flag is accepted: there is no error to look at")
	}
	if said := fmt.Sprintf("%+v %v", opts, refused); strings.Contains(said, planted) {
		t.Errorf("the edge key is told: %s", said)
	}
}
