package addons

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

func config() Config {
	return Config{DNSServiceIP: "10.43.0.10", ClusterDomain: "cluster.local", LocalPath: "/var/lib/kubesolo/local-path-storage"}
}

func TestGolden(t *testing.T) {
	online, shared := config(), config()
	online.Nameservers = []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8::1")}
	online.LocalStorage = true
	shared.LocalStorage, shared.SharedPath = true, "/mnt/nas"
	for name, cfg := range map[string]Config{"offline": config(), "online": online, "shared": shared} {
		documents, err := Render(cfg)
		if err != nil {
			t.Fatal(err)
		}
		isGolden(t, name, documents)
	}
}

func isGolden(t *testing.T, name string, documents []string) {
	t.Helper()
	got := strings.Join(documents, "\n---\n")
	golden := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs from its golden file (go test -update writes it):\n%s", name, got)
	}
}

// Every document must be an object the applier knows, without a placeholder
// left in it.
func TestDocumentsAreObjects(t *testing.T) {
	cfg := config()
	cfg.LocalStorage = true
	documents, err := Render(cfg)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := portainer().documents()
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range append(documents, agent...) {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		_, namespaced, err := resourceOf(object.GroupVersionKind())
		if err != nil || namespaced != (object.GetNamespace() != "") {
			t.Errorf("%s %s: namespace %q, error %v", object.GetKind(), object.GetName(), object.GetNamespace(), err)
		}
		if strings.Contains(document, "@") {
			t.Errorf("placeholder left in\n%s", document)
		}
	}
}

// recorder is an API server that knows only what was asked of it.
type recorder struct {
	applied chan string
	owned   []string
	removed []string
	foreign string // what somebody else made
	refusal error  // of what is not Apply
}

func (r *recorder) Apply(_ context.Context, document string) error {
	r.applied <- document
	return nil
}

func (r *recorder) Own(_ context.Context, document string) (string, error) {
	r.owned = append(r.owned, document)
	if r.foreign != "" && strings.Contains(document, "kind: "+r.foreign+"\n") {
		return r.foreign, r.refusal
	}
	return "", r.refusal
}

func (r *recorder) Remove(_ context.Context, document string) (bool, error) {
	r.removed = append(r.removed, document)
	return true, r.refusal
}

func TestRunAppliesOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &recorder{applied: make(chan string, 100)}
	resolv := filepath.Join(t.TempDir(), "resolv.conf") // missing: a node without network
	err := Run(ctx, r, config(), resolv, func(line string) { t.Log(line) }, cancel)
	if err != nil {
		t.Fatal(err)
	}
	documents, err := Render(config())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.applied) != len(documents) {
		t.Errorf("%d documents applied, want %d", len(r.applied), len(documents))
	}
}
