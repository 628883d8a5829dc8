package addons

import (
	"context"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func portainer() Portainer {
	return Portainer{ID: "0b5e2c9a-7d43-4c57-9a5e-5f1d2c3b4a69", Key: "aHR0cHM6Ly9wb3J0YWluZXIucGxhbnQuZXhhbXBsZXw3"}
}

func TestPortainerGolden(t *testing.T) {
	own := portainer()
	own.Async, own.Image = true, "registry.plant.example/portainer/agent:2@sha256:0123"
	for name, agent := range map[string]Portainer{"portainer": portainer(), "portainer-async": own} {
		documents, err := agent.documents()
		if err != nil {
			t.Fatal(err)
		}
		isGolden(t, name, documents)
	}
}

// Text that means something in YAML, or here, arrives as it is.
func TestPortainerTextArrives(t *testing.T) {
	const id, key = "a: \"b\"\n- @KEY@ # {{x}} & 'y'", "@ID@\x00\xff: [|\n"
	documents, err := Portainer{ID: id, Key: key, Image: "@HASH@"}.documents()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, document := range documents {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		field, want := []string{"data", "EDGE_ID"}, id
		switch object.GetKind() {
		case "Secret":
			field, want = []string{"data", "edge.key"}, base64.StdEncoding.EncodeToString([]byte(key))
		case "ConfigMap":
		default:
			continue
		}
		got, _, err := unstructured.NestedString(object.Object, field...)
		if err != nil || got != want {
			t.Errorf("%s: got %q, error %v, want %q", object.GetKind(), got, err, want)
		}
		found++
	}
	if found != 2 {
		t.Errorf("%d objects with settings, want 2", found)
	}
}

func TestPortainerKeyIsInTheSecretOnly(t *testing.T) {
	agent := portainer()
	documents, err := agent.documents()
	if err != nil {
		t.Fatal(err)
	}
	written := base64.StdEncoding.EncodeToString([]byte(agent.Key.Reveal()))
	for _, document := range documents {
		secret := strings.Contains(document, "\nkind: Secret\n")
		if strings.Contains(document, agent.Key.Reveal()) || strings.Contains(document, written) != secret {
			t.Errorf("the key where it should not be, or not where it should:\n%s", document)
		}
	}
}

func TestPortainerHash(t *testing.T) {
	seen := map[string]string{}
	for name, agent := range map[string]Portainer{
		"base": {ID: "i", Key: "k"}, "id": {ID: "j", Key: "k"}, "key": {ID: "i", Key: "l"},
		"async": {ID: "i", Key: "k", Async: true}, "border": {ID: "i\" \"k", Key: ""},
	} {
		if other, found := seen[agent.hash()]; found {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[agent.hash()] = name
	}
}

func TestPortainerEnsure(t *testing.T) {
	documents, err := portainer().documents()
	if err != nil {
		t.Fatal(err)
	}
	all := len(documents)
	for name, test := range map[string]struct {
		agent          Portainer
		owned, removed int
		said           string
	}{
		"both":     {portainer(), all, 0, "deployed"},
		"none":     {Portainer{Async: true, Image: "x"}, 0, all, "removed"},
		"id only":  {Portainer{ID: "i"}, 0, 0, ""},
		"key only": {Portainer{Key: "k"}, 0, 0, ""},
	} {
		r := &recorder{}
		var lines []string
		err := test.agent.ensure(t.Context(), r, func(line string) { lines = append(lines, line) })
		if err != nil || len(r.owned) != test.owned || len(r.removed) != test.removed {
			t.Errorf("%s: %d made, %d removed, error %v", name, len(r.owned), len(r.removed), err)
		}
		if said := strings.Join(lines, "\n"); !strings.Contains(said, test.said) || (said == "") != (test.said == "") {
			t.Errorf("%s: said %q, want %q", name, said, test.said)
		}
		if len(r.removed) > 0 && r.removed[0][strings.Index(r.removed[0], "kind:"):][:16] != "kind: Deployment" {
			t.Errorf("%s: removed first: %s", name, r.removed[0])
		}
	}
}

func TestPortainerNamesWhatIsForeign(t *testing.T) {
	var lines []string
	r := &recorder{foreign: "ClusterRoleBinding"}
	err := portainer().ensure(t.Context(), r, func(line string) { lines = append(lines, line) })
	if err != nil || len(lines) != 2 || !strings.Contains(lines[0], "ClusterRoleBinding;") {
		t.Errorf("said %q, error %v", lines, err)
	}
}

// The node is ready whatever becomes of the agent, and says once what it is.
func TestRefusedPortainerDoesNotHoldTheNode(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{applied: make(chan string, 100), refusal: errors.New("no such thing here")}
	cfg := config()
	cfg.Portainer = portainer()
	ready := false
	var lines []string
	log := func(line string) {
		lines = append(lines, line)
		cancel()
	}
	err := Run(ctx, r, cfg, filepath.Join(t.TempDir(), "resolv.conf"), log, func() { ready = true })
	if err != nil || !ready || len(lines) != 1 || !strings.Contains(lines[0], "no such thing here") {
		t.Errorf("ready %t, said %q, error %v", ready, lines, err)
	}
	agent := agentState{Portainer: portainer(), log: func(string) { t.Error("said twice") }, failure: r.refusal.Error()}
	agent.settle(t.Context(), r)
	r.refusal, agent.log = nil, func(string) {}
	agent.settle(t.Context(), r)
	asked := len(r.owned)
	if agent.settle(t.Context(), r); !agent.done || len(r.owned) != asked {
		t.Errorf("done %t, asked again: %t", agent.done, len(r.owned) != asked)
	}
	for _, line := range lines {
		if strings.Contains(line, cfg.Portainer.Key.Reveal()) || strings.Contains(line, cfg.Portainer.ID.Reveal()) {
			t.Errorf("told: %s", line)
		}
	}
}
