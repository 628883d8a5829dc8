package cloudinit

import (
	"gopkg.in/yaml.v3"

	"kubesolo.io/os/internal/config"
)

// Schema is as much of a JSON schema (draft 2020-12) as the documents need.
type Schema struct {
	Dialect     string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        any                `json:"type,omitempty"` // string, or a list of them
	Enum        []string           `json:"enum,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	Items       *Schema            `json:"items,omitempty"`
	Properties  map[string]*Schema `json:"properties,omitempty"`
	// Others is false where no other key is known, or the schema of the
	// values where the keys are names of the document's own choice.
	Others   any      `json:"additionalProperties,omitempty"`
	Required []string `json:"required,omitempty"`
}

// JSONSchema describes the documents that Parse accepts without a warning. The
// readers of Parse themselves tell it, so neither can know a key that the other
// does not. What a schema cannot say (that an address needs its mask) is for
// Parse alone.
func JSONSchema() *Schema {
	s := &Schema{
		Dialect: "https://json-schema.org/draft/2020-12/schema",
		Title:   "KubeSolo OS cloud-config",
	}
	w := &walker{tell: s}
	w.root(nothing(), &config.Part{})
	return s
}

// nothing is what readers are given that only tell.
func nothing() *yaml.Node { return &yaml.Node{} }

// told notes the types that a value may have, when readers are to tell.
func (w *walker) told(types ...string) bool {
	if w.tell == nil {
		return false
	}
	w.tell.Type = types
	if len(types) == 1 {
		w.tell.Type = types[0]
	}
	return true
}

// within lets f tell of a part of the schema.
func (w *walker) within(s *Schema, f func()) {
	outer := w.tell
	w.tell = s
	f()
	w.tell = outer
}

func (w *walker) tellKeys(keys []key) {
	s := w.tell
	w.told("object")
	s.Others, s.Properties = false, map[string]*Schema{}
	for _, k := range keys {
		if k.later {
			continue
		}
		value := &Schema{Description: k.doc}
		s.Properties[k.name] = value
		w.within(value, func() { k.read(nothing()) })
		if k.must {
			s.Required = append(s.Required, k.name)
		}
	}
}

func (w *walker) tellEntries(f func(name string, k, v *yaml.Node)) {
	w.told("object")
	value := &Schema{}
	w.tell.Others = value
	w.within(value, func() { f("name", nothing(), nothing()) })
}

func (w *walker) tellItems(f func(*yaml.Node)) {
	w.told("array")
	w.tell.Items = &Schema{}
	w.within(w.tell.Items, func() { f(nothing()) })
}
