package kube

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/update"
)

type fields = map[string]any

// openAPISchema is that of the only version in the definition.
func openAPISchema(t *testing.T) fields {
	t.Helper()
	var v struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema fields }
			}
		}
	}
	if err := json.Unmarshal(manifest, &v); err != nil || len(v.Spec.Versions) != 1 {
		t.Fatalf("%d versions, %v", len(v.Spec.Versions), err)
	}
	return v.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// TestSchemaIsStructural by the rules that the API server has for the schema of a
// custom resource: a type at each node, nothing that is no part of OpenAPI's
// version 3, no reference, and of metadata only the type.
func TestSchemaIsStructural(t *testing.T) {
	allowed := []string{"type", "description", "properties", "items", "required", "enum", "pattern", "format", "minLength", "maxLength", "minimum",
		"x-kubernetes-list-type", "x-kubernetes-list-map-keys"}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		node, ok := v.(fields)
		if !ok {
			t.Fatalf("%s is no schema", at)
		}
		for name := range node {
			if !slices.Contains(allowed, name) {
				t.Errorf("%s: %s", at, name)
			}
		}
		properties, _ := node["properties"].(fields)
		switch node["type"] {
		case "object":
			if properties == nil && at != ".metadata" {
				t.Errorf("%s: an object without properties is pruned to nothing", at)
			}
			for name, p := range properties {
				walk(at+"."+name, p)
			}
		case "array":
			walk(at+"[]", node["items"])
		case "string", "integer", "boolean":
		default:
			t.Errorf("%s: type %v", at, node["type"])
		}
		required, _ := node["required"].([]any)
		for _, name := range required {
			if properties[name.(string)] == nil {
				t.Errorf("%s: %s is required, and not there", at, name)
			}
		}
	}
	walk("", openAPISchema(t))
}

// at follows a JSON path such as .spec.version through a schema.
func at(schema fields, path string) any {
	var v any = schema
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "."), ".") {
		v = v.(fields)["properties"].(fields)[name]
		if v == nil {
			return nil
		}
	}
	return v
}

func names(v any) []string {
	var list []string
	for i := range reflect.TypeOf(v).NumField() {
		name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// TestDefinitionAgrees with what this package reads and writes, and with the
// phases and orders of internal/update.
func TestDefinitionAgrees(t *testing.T) {
	schema := openAPISchema(t)
	for path, v := range map[string]any{".spec": spec{}, ".status": status{}} {
		if got, want := slices.Sorted(maps.Keys(at(schema, path).(fields)["properties"].(fields))), names(v); !slices.Equal(got, want) {
			t.Errorf("%s has %v, the program %v", path, got, want)
		}
	}
	items := at(schema, ".status.conditions").(fields)["items"].(fields)
	if got, want := slices.Sorted(maps.Keys(items["properties"].(fields))), names(condition{}); !slices.Equal(got, want) {
		t.Errorf("conditions have %v, the program %v", got, want)
	}
	ordered := slices.DeleteFunc(names(update.Order{}), func(name string) bool { return name == "verb" || name == "by" })
	if got := names(spec{}); !slices.Equal(got, ordered) {
		t.Errorf("a spec has %v, an order %v", got, ordered)
	}
	var phases []any
	for _, p := range update.Phases() {
		if p == update.Idle {
			p = pending
		}
		phases = append(phases, string(p))
	}
	if got := at(schema, ".status.phase").(fields)["enum"].([]any); !slices.Equal(got, phases) {
		t.Errorf("phases %v, want %v", got, phases)
	}
	var v struct {
		Metadata struct{ Name string }
		Spec     struct {
			Group    string
			Names    struct{ Plural, Singular, Kind string }
			Versions []struct {
				Name                     string
				AdditionalPrinterColumns []struct{ JSONPath string }
			}
		}
	}
	if err := json.Unmarshal(manifest, &v); err != nil {
		t.Fatal(err)
	}
	if v.Metadata.Name != definitionName || v.Spec.Group+"/"+v.Spec.Versions[0].Name != apiVersion || v.Spec.Names.Plural+"."+v.Spec.Group != definitionName {
		t.Errorf("%+v is not what is asked for", v)
	}
	for _, c := range v.Spec.Versions[0].AdditionalPrinterColumns {
		if !strings.HasPrefix(c.JSONPath, ".metadata.") && at(schema, c.JSONPath) == nil {
			t.Errorf("a column shows %s, which is not there", c.JSONPath)
		}
	}
}

// TestSpecs: what the API server takes, and what it refuses at once.
func TestSpecs(t *testing.T) {
	s := schemaOf(t)
	example, err := os.ReadFile("../../../docs/examples/osupdate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var o fields
	if err := yaml.Unmarshal(example, &o); err != nil {
		t.Fatal(err)
	}
	if o["apiVersion"] != apiVersion || o["kind"] != "OSUpdate" || s.Validate(o) != nil {
		t.Errorf("the example is refused: %v", s.Validate(o))
	}
	for text, good := range map[string]bool{
		`{}`:               true,
		`{version: 0.2.0}`: true,
		`{version: 1.10.0-rc.1+build.7, channel: edge, source: "oci://r.example:5000/os", window: "Sat,Sun 22:00-04:00", force: true}`: true,
		`{window: "01:00-05:00"}`: true,
		`{version: v0.2.0}`:       false,
		`{version: "0.2"}`:        false,
		`{version: 0.02.0}`:       false,
		`{version: latest}`:       false,
		`{channel: Stable}`:       false,
		`{channel: ""}`:           false,
		`{source: "a b"}`:         false,
		`{window: nights}`:        false,
		`{window: "1:00-5:00"}`:   false,
		`{force: "yes"}`:          false,
		`{force: true, at: noon}`: false, // pruned by the API server
	} {
		var spec fields
		if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(fields{"spec": spec}); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestDefine(t *testing.T) {
	s := startServer(t)
	api, err := s.client()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := define(t.Context(), api); err != errNotYet {
			t.Fatalf("not established, and %v", err)
		}
	}
	if err := define(t.Context(), api); err != nil {
		t.Fatal(err)
	}
	digest := s.definition["metadata"].(fields)["annotations"].(fields)[digestOf]
	s.definition = merge(s.definition, fields{"metadata": fields{"annotations": fields{digestOf: "older", "theirs": "stays"}},
		"spec": fields{"versions": []any{fields{"name": "v1alpha1", "schema": nil}}}}).(fields)
	s.requests = nil
	if err := define(t.Context(), api); err != nil || len(s.requests) != 2 {
		t.Errorf("an older one: %v, %v", err, s.requests)
	}
	annotations := s.definition["metadata"].(fields)["annotations"].(fields)
	if annotations[digestOf] != digest || annotations["theirs"] != "stays" || s.definition["spec"].(fields)["versions"].([]any)[0].(fields)["schema"] == nil {
		t.Errorf("not renewed: %v", s.definition)
	}
	s.requests = nil
	if err := define(t.Context(), api); err != nil || len(s.requests) != 1 {
		t.Errorf("the same: %v, %v", err, s.requests)
	}
	s.definition["metadata"].(fields)["labels"] = fields{managedBy: "Helm"}
	if err := define(t.Context(), api); err == nil || !strings.Contains(err.Error(), "left alone") {
		t.Errorf("somebody else's: %v", err)
	}
}
