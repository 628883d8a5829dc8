package kube

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"kubesolo.io/os/internal/kubeapi"
)

// apiServer answers what this package asks as the API server does: it serves
// objects once their definition is established, refuses a status that the schema
// of the definition does not know, and a patch of what was changed meanwhile.
type apiServer struct {
	t       *testing.T
	url, ca string

	mu          sync.Mutex
	definition  map[string]any
	established bool // by the next look at the definition
	objects     map[string]map[string]any
	events      map[string]map[string]any
	nodes       []string
	version     int
	requests    []string
	// before is called ahead of each request, and answers in its place if it wants.
	before func(method, path string) (code int, answered bool)
}

func startServer(t *testing.T) *apiServer {
	s := &apiServer{t: t, objects: map[string]map[string]any{}, events: map[string]map[string]any{}, nodes: []string{"box"}}
	srv := httptest.NewTLSServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	s.ca = base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	return s
}

func (s *apiServer) client() (*kubeapi.Client, error) {
	return kubeapi.Load(fmt.Appendf(nil, `{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "x", "user": "u"}}],
	  "clusters": [{"name": "x", "cluster": {"server": %q, "certificate-authority-data": %q}}],
	  "users": [{"name": "u", "user": {"token": "t"}}]}`, s.url, s.ca))
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	if s.before != nil {
		if code, answered := s.before(r.Method, r.URL.Path); answered {
			answer(w, code, nil)
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	var in map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			s.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
	}
	code, out := s.handle(r, in)
	answer(w, code, out)
}

func answer(w http.ResponseWriter, code int, out any) {
	if code >= 300 {
		out = map[string]any{"kind": "Status", "reason": http.StatusText(code), "message": fmt.Sprint(out)}
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(out)
}

func (s *apiServer) handle(r *http.Request, in map[string]any) (code int, out any) {
	name, isObject := strings.CutPrefix(r.URL.Path, objectsURL)
	name = strings.TrimSuffix(strings.TrimPrefix(name, "/"), "/status")
	switch {
	case r.URL.Path == nodesURL:
		return 200, map[string]any{"items": s.nodeList()}
	case r.URL.Path == eventsURL && r.Method == http.MethodPost:
		meta := in["metadata"].(map[string]any)
		if s.events[meta["name"].(string)] != nil {
			return 409, "exists"
		}
		s.events[meta["name"].(string)] = in
		return 201, in
	case r.URL.Path == definitionsURL && r.Method == http.MethodPost:
		s.definition = in
		return 201, in
	case strings.HasPrefix(r.URL.Path, definitionsURL):
		return s.handleDefinition(r, in)
	case isObject && !s.established:
		return 404, "the server could not find the requested resource"
	case isObject && name == "":
		return 200, map[string]any{"items": slices.Collect(maps.Values(s.objects))}
	case isObject && r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/status"):
		return s.patchStatus(name, in)
	}
	s.t.Errorf("nobody expected %s %s", r.Method, r.URL.Path)
	return 500, ""
}

func (s *apiServer) nodeList() (list []any) {
	for _, name := range s.nodes {
		list = append(list, map[string]any{"metadata": map[string]any{"name": name, "uid": "uid-of-" + name}})
	}
	return list
}

func (s *apiServer) handleDefinition(r *http.Request, in map[string]any) (code int, out any) {
	if s.definition == nil {
		return 404, "no definition"
	}
	if r.Method == http.MethodPatch {
		if got := r.Header.Get("Content-Type"); got != "application/merge-patch+json" {
			s.t.Errorf("content type %q", got)
		}
		s.definition = merge(s.definition, in).(map[string]any)
	}
	out = maps.Clone(s.definition)
	if s.established {
		out.(map[string]any)["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Established", "status": "True"}}}
	}
	s.established = true // as it is a moment later
	return 200, out
}

func (s *apiServer) patchStatus(name string, in map[string]any) (code int, out any) {
	o := s.objects[name]
	if o == nil {
		return 404, name
	}
	meta := o["metadata"].(map[string]any)
	if given := in["metadata"].(map[string]any)["resourceVersion"]; given != meta["resourceVersion"] {
		return 409, fmt.Sprintf("the object has been modified: %v is not %v", given, meta["resourceVersion"])
	}
	o = merge(o, map[string]any{"status": in["status"]}).(map[string]any)
	if err := schemaOf(s.t).Validate(o); err != nil {
		s.t.Errorf("the schema refuses %v: %v", o["status"], err)
		return 422, err
	}
	s.touch(o)
	s.objects[name] = o
	return 200, o
}

// touch gives the object a new resourceVersion.
func (s *apiServer) touch(o map[string]any) {
	s.version++
	meta := maps.Clone(o["metadata"].(map[string]any))
	meta["resourceVersion"] = fmt.Sprint(s.version)
	o["metadata"] = meta
}

// merge is RFC 7396.
func merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, _ := target.(map[string]any)
	t = maps.Clone(t)
	if t == nil {
		t = map[string]any{}
	}
	for name, v := range p {
		if v == nil {
			delete(t, name)
		} else {
			t[name] = merge(t[name], v)
		}
	}
	return t
}

// schemaOf is the schema of the definition for a validator of JSON schemas, in
// which a property that it does not know is a mistake: the API server would drop
// it.
func schemaOf(t *testing.T) *jsonschema.Resolved {
	var strict func(v any)
	strict = func(v any) {
		node, ok := v.(map[string]any)
		if !ok {
			return
		}
		for _, name := range slices.Collect(maps.Keys(node)) {
			if strings.HasPrefix(name, "x-kubernetes-") || name == "format" {
				delete(node, name)
			}
		}
		if properties, ok := node["properties"].(map[string]any); ok {
			node["additionalProperties"] = false
			for _, p := range properties {
				strict(p)
			}
		}
		strict(node["items"])
	}
	v := openAPISchema(t)
	strict(v)
	text, err := json.Marshal(v)
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

// create makes an object that is so many minutes old.
func (s *apiServer) create(name string, minutes int, spec map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := map[string]any{"apiVersion": apiVersion, "kind": "OSUpdate", "spec": spec, "metadata": map[string]any{
		"name": name, "uid": "uid-of-" + name, "generation": 1,
		"creationTimestamp": time.Now().Add(-time.Duration(minutes) * time.Minute).UTC().Format(time.RFC3339),
	}}
	s.touch(o)
	s.objects[name] = o
}

// change edits the spec, as a person does.
func (s *apiServer) change(name string, spec map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := maps.Clone(s.objects[name])
	o["spec"] = spec
	s.touch(o)
	meta := o["metadata"].(map[string]any)
	meta["generation"] = o["metadata"].(map[string]any)["generation"].(int) + 1
	s.objects[name] = o
}

func (s *apiServer) object(name string) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := json.Marshal(s.objects[name])
	if err != nil {
		s.t.Fatal(err)
	}
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		s.t.Fatal(err)
	}
	return o
}

// copy is the database as it is now; the function brings it back.
func (s *apiServer) copy() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, events := maps.Clone(s.objects), maps.Clone(s.events)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.objects, s.events = objects, events
	}
}

// reasons of the events, by time.
func (s *apiServer) reasons() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, name := range slices.Sorted(maps.Keys(s.events)) {
		e := s.events[name]
		if on := e["involvedObject"].(map[string]any); on["kind"] != "Node" || on["uid"] != "uid-of-box" {
			s.t.Errorf("an event of %v", on)
		}
		list = append(list, strings.TrimPrefix(e["reason"].(string), "Update"))
	}
	return strings.Join(list, " ")
}
