package cloudinit_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/cloudinit"
	"kubesolo.io/os/internal/config"
)

const published = "../../docs/cloud-init.schema.json"

func TestPublishedSchemaIsCurrent(t *testing.T) {
	want, err := json.MarshalIndent(cloudinit.JSONSchema(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(published, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(published)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the parser knows; write it anew: go test ./internal/cloudinit -run Published -update", published)
	}
}

// schema is the published file, as a reader of it understands it.
func schema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	text, err := os.ReadFile(published)
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// asJSON gives the document as an editor sees it.
func asJSON(t *testing.T, doc []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	v = nil
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestExamples: every example is whole for the parser and for the schema, and
// says when it is of use.
func TestExamples(t *testing.T) {
	want := []string{"air-gapped", "bond-vlan", "bridge", "dhcp", "ipv6", "portainer-edge", "registry-mirror", "ssh-keys", "static", "updates"}
	paths, err := filepath.Glob("../../docs/examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := schema(t)
	var names []string
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		if name == "osupdate" { // for kubectl; internal/update/kube tests it
			continue
		}
		names = append(names, name)
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		part, warnings, err := cloudinit.Parse(cloudinit.CloudConfig, doc)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v %v", name, err, warnings)
		}
		c, o := config.Merge(config.Defaults(), part)
		if err := config.Validate(c, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Validate(asJSON(t, doc)); err != nil {
			t.Errorf("%s: the schema refuses it: %v", name, err)
		}
		if !strings.HasPrefix(string(doc), "#cloud-config\n# When: ") {
			t.Errorf("%s does not begin with when to use it", name)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("examples are %v, want %v", names, want)
	}
}

// TestSchemaAgreesWithTheParser on the documents of testdata: what the parser
// takes without a word the schema takes, and what the schema refuses the parser
// does not take without a word.
func TestSchemaAgreesWithTheParser(t *testing.T) {
	s := schema(t)
	taken := 0
	for _, path := range documents(t) {
		if cloudinit.KindOf(path) != cloudinit.CloudConfig {
			continue
		}
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if yaml.Unmarshal(doc, &v) != nil || v == nil {
			continue // no editor gets as far as the schema
		}
		_, warnings, err := cloudinit.Parse(cloudinit.CloudConfig, doc)
		refused := s.Validate(asJSON(t, doc))
		if err == nil && len(warnings) == 0 {
			taken++
			if refused != nil {
				t.Errorf("%s: the parser takes it, the schema does not: %v", path, refused)
			}
		}
	}
	if taken < 2 {
		t.Errorf("only %d documents were compared", taken)
	}
	for doc, refused := range map[string]bool{
		"hostname: a": false, "hostname: 7": true, "hostnme: a": true, "network: {version: 2, ethernets: {a: {dhcp4: true}}}": false,
		"network: {version: 2, ethernets: {a: {dhcp4: yes please}}}": true, "network: {version: 2, vlans: {a: {id: 5}}}": true,
		"network: {version: 2, vlans: {a: {id: 5000, link: b}}}": true, "network: {version: 2, bonds: {a: {interfaces: [x], parameters: {mode: six}}}}": true,
		"write_files: [{content: a}]": true, "write_files: [{path: /run/a, permissions: 0600}]": false, "kubesolo: {mtu: 10}": true,
		"sysctl: {vm.swappiness: 1}": false, "sysctl: {vm.swappiness: [1]}": true, "update: {}": false, "modules: a": true,
		"update: {auto: off, check-every: 6h, usb: true, window: \"Sat,Sun 01:00-05:00\"}": false, "update: {auto: on}": true,
		"update: {usb: maybe}": true, "update: {check-every: 6}": true, "update: {server: a}": true, "update: {window: [a]}": true,
	} {
		_, warnings, err := cloudinit.Parse(cloudinit.CloudConfig, []byte("#cloud-config\n"+doc+"\n"))
		if byParser := err != nil || len(warnings) > 0; byParser != refused {
			t.Errorf("%s: the parser says %v %v", doc, err, warnings)
		}
		if err := s.Validate(asJSON(t, []byte(doc))); (err != nil) != refused {
			t.Errorf("%s: the schema says %v", doc, err)
		}
	}
}

// TestSchemaHasAllOfTheTypes: what a Part can hold can be said in a document.
func TestSchemaHasAllOfTheTypes(t *testing.T) {
	s := cloudinit.JSONSchema()
	renamed := map[string]string{"source": "", "write-files": "write_files", "kubesolo": "kubesolo"}
	for name := range fields(reflect.TypeFor[config.Part]()) {
		if as, ok := renamed[name]; ok && as == "" {
			continue
		} else if ok {
			name = as
		}
		if s.Properties[name] == nil {
			t.Errorf("no key for %s of config.Part", name)
		}
	}
	for section, of := range map[string]reflect.Type{
		"kubesolo": reflect.TypeFor[config.KubeSoloPart](), "portainer": reflect.TypeFor[config.PortainerPart](), "proxy": reflect.TypeFor[config.ProxyPart](),
		"update": reflect.TypeFor[config.UpdatePart](),
	} {
		for name := range fields(of) {
			if s.Properties[section].Properties[name] == nil {
				t.Errorf("no key for %s of %s", name, of)
			}
		}
	}
	undescribed(t, "", s)
}

func fields(of reflect.Type) map[string]bool {
	out := map[string]bool{}
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		out[name] = true
	}
	return out
}

// undescribed: what an editor shows beside each key.
func undescribed(t *testing.T, at string, s *cloudinit.Schema) {
	t.Helper()
	for name, p := range s.Properties {
		if p.Description == "" || p.Type == nil {
			t.Errorf("%s.%s has no description or no type", at, name)
		}
		undescribed(t, at+"."+name, p)
	}
	if of, ok := s.Others.(*cloudinit.Schema); ok {
		undescribed(t, at+".*", of)
	}
	if s.Items != nil {
		undescribed(t, at+"[]", s.Items)
	}
}
