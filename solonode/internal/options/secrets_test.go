package options

import (
	"fmt"
	"strings"
	"testing"
)

// TestSecretsAreNotSaid: the edge key goes into a Secret of the cluster, and
// must not come back in a notice, an error, the help or the options.
func TestSecretsAreNotSaid(t *testing.T) {
	const planted = "PLANTED-7f3a"
	env := map[string]string{"KUBESOLO_PORTAINER_EDGE_KEY": planted, "KUBESOLO_PORTAINER_EDGE_ID": "edge-1"}
	opts, err := parse(t, env)
	if err != nil || len(opts.Notices) != 0 {
		t.Fatalf("notices %q, error %v", opts.Notices, err)
	}
	_, refused := parse(t, env, "--mtu=many")
	if refused == nil {
		t.Fatal("a bad flag is accepted: there is no error to look at")
	}
	if said := fmt.Sprintf("%+v %#v %v %s", opts, opts, refused, Usage()); strings.Contains(said, planted) {
		t.Errorf("the edge key is told: %s", said)
	}
}
