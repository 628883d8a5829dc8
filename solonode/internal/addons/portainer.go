package addons

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"kubesolo.io/os/solonode/internal/options"
)

// PortainerImage is not in the host's preload list: it is pulled, unless it is
// in the container runtime already.
const PortainerImage = "docker.io/portainer/agent:lts"

// Portainer is the Edge agent that connects the cluster to a Portainer server.
type Portainer struct {
	ID, Key options.Secret // both, or no agent
	Async   bool
	Image   string // "": PortainerImage
}

// documents are the agent's objects, in the order in which they are made. One
// of them holds the key: they are for the API server only.
func (p Portainer) documents() ([]string, error) {
	data, err := manifests.ReadFile("manifests/portainer.yaml")
	if err != nil {
		return nil, err
	}
	image, async := p.Image, ""
	if image == "" {
		image = PortainerImage
	}
	if p.Async {
		async = "\n  EDGE_ASYNC: \"1\""
	}
	replacer := strings.NewReplacer(
		"@ID@", quoted(p.ID.Reveal()),
		"@KEY@", quoted(base64.StdEncoding.EncodeToString([]byte(p.Key.Reveal()))),
		"@ASYNC@", async,
		"@IMAGE@", quoted(image),
		"@HASH@", quoted(p.hash()),
	)
	documents := strings.Split(string(data), "\n---\n")
	for i := range documents {
		documents[i] = replacer.Replace(documents[i])
	}
	return documents, nil
}

// hash changes with what the agent reads only once, at its start.
func (p Portainer) hash() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %t", p.ID.Reveal(), p.Key.Reveal(), p.Async))
	return fmt.Sprintf("%x", sum[:8])
}

// quoted makes a YAML scalar of any text: JSON's strings are YAML's.
func quoted(text string) string {
	data, _ := json.Marshal(text) // cannot fail for a string
	return string(data)
}

// agentState is how far the agent of one run is.
type agentState struct {
	Portainer
	log     func(string)
	done    bool
	failure string
}

// settle is called until it is done, which it is but once. What stands in the
// way may stay for ever, and is said once.
func (s *agentState) settle(ctx context.Context, applier Applier) {
	if s.done {
		return
	}
	err := s.ensure(ctx, applier, s.log)
	if s.done = err == nil; s.done || ctx.Err() != nil {
		return
	}
	if text := err.Error(); text != s.failure {
		s.failure = text
		s.log("Portainer agent: " + text + ", trying again")
	}
}

// ensure makes the agent in the cluster what p says: there, or gone. An ID or a
// key alone is neither: a value that got lost must not cut the way to the node.
func (p Portainer) ensure(ctx context.Context, applier Applier, log func(string)) error {
	documents, err := p.documents()
	if err != nil {
		return err
	}
	switch {
	case p.ID != "" && p.Key != "":
		return deploy(ctx, applier, documents, log)
	case p.ID == "" && p.Key == "":
		return remove(ctx, applier, documents, log)
	}
	return nil
}

func deploy(ctx context.Context, applier Applier, documents []string, log func(string)) error {
	var foreign []string
	for _, document := range documents {
		name, err := applier.Own(ctx, document)
		if err != nil {
			return err
		}
		if name != "" {
			foreign = append(foreign, name)
		}
	}
	if len(foreign) > 0 {
		log("Portainer agent: left as somebody else made them: " + strings.Join(foreign, ", ") + "; when they are deleted, the next start makes its own")
	}
	log("Portainer agent: deployed")
	return nil
}

// remove begins with the agent itself, which needs the others to its end.
func remove(ctx context.Context, applier Applier, documents []string, log func(string)) error {
	found := false
	for _, document := range slices.Backward(documents) {
		removed, err := applier.Remove(ctx, document)
		if err != nil {
			return err
		}
		found = found || removed
	}
	if found {
		log("Portainer agent: removed, as there is no Edge ID and no Edge key any more")
	}
	return nil
}
