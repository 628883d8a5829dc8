package components

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

func TestTableMatchesNestedModules(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("the table is empty")
	}
	dirs := make(map[string]bool)
	for _, c := range all {
		dirs[c.Dir] = true
		if len(c.Sources) > 0 {
			continue
		}
		path := filepath.Join(c.Dir, "go.mod")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		mod, err := modfile.Parse(path, data, nil)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		i := slices.IndexFunc(mod.Require, func(r *modfile.Require) bool { return r.Mod.Path == c.Module })
		if i < 0 {
			t.Errorf("%s: %s does not require %s", c.Name, path, c.Module)
		} else if got := mod.Require[i].Mod.Version; got != c.Version {
			t.Errorf("%s: the table says %s, %s pins %s", c.Name, c.Version, path, got)
		}
		for _, pkg := range c.Packages {
			if pkg != "." && !strings.HasPrefix(pkg, c.Module) {
				t.Errorf("%s: package %s is not of module %s", c.Name, pkg, c.Module)
			}
		}
	}
	mods, err := filepath.Glob("*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mods {
		if !dirs[filepath.Dir(m)] {
			t.Errorf("%s is built by no entry of components.json", m)
		}
	}
}

func TestCommand(t *testing.T) {
	c := Component{
		Dir: "runc", Packages: []string{"example.org/a", "example.org/b"}, Tags: []string{"x", "y"},
		Vars: map[string]string{"main.b": "2", "main.a": "1"},
	}
	argv, env := c.Command("/out")
	want := []string{
		"go", "build", "-C", "runc", "-trimpath", "-buildvcs=false", "-mod=readonly", "-tags", "x,y",
		"-ldflags", "-s -w -X main.a=1 -X main.b=2", "-o", "/out/", "example.org/a", "example.org/b",
	}
	if !slices.Equal(argv, want) {
		t.Errorf("argv\n got %q\nwant %q", argv, want)
	}
	if !slices.Contains(env, "CGO_ENABLED=0") {
		t.Errorf("env %q leaves cgo on", env)
	}
	c.GCFlags = "all=-l"
	if argv, _ := c.Command("/out"); !strings.Contains(strings.Join(argv, " "), " -gcflags all=-l example.org/a") {
		t.Errorf("compiler flags are not before the packages: %q", argv)
	}
	c.Cgo = true
	argv, env = c.Command("/out")
	if !slices.Contains(env, "CGO_ENABLED=1") || !strings.Contains(strings.Join(argv, " "), "-static") {
		t.Errorf("a cgo component must be built with cgo and linked static: %q %q", env, argv)
	}
}

func TestParseRejects(t *testing.T) {
	const ok = `"module":"m","version":"v1","licence":"MIT"`
	for name, in := range map[string]string{
		"unknown key":     `[{"name":"a",` + ok + `,"dir":"a","packages":["."],"outputs":["a"],"tgas":[]}]`,
		"no version":      `[{"name":"a","module":"m","licence":"MIT","dir":"a","packages":["."],"outputs":["a"]}]`,
		"output missing":  `[{"name":"a",` + ok + `,"dir":"a","packages":["."],"outputs":[]}]`,
		"outside":         `[{"name":"a",` + ok + `,"dir":"../a","packages":["."],"outputs":["a"]}]`,
		"same output":     `[{"name":"a",` + ok + `,"dir":"a","packages":["."],"outputs":["x"]},{"name":"b",` + ok + `,"dir":"a","packages":["."],"outputs":["x"]}]`,
		"no compiler":     `[{"name":"a",` + ok + `,"dir":"a","packages":["."],"outputs":["a"],"cgo":true}]`,
		"Go and C":        `[{"name":"a",` + ok + `,"dir":"a","packages":["."],"sources":["a.c"],"outputs":["a"],"debian":["gcc"]}]`,
		"two C outputs":   `[{"name":"a",` + ok + `,"dir":"a","sources":["a.c"],"outputs":["a","b"],"debian":["gcc"]}]`,
		"not JSON at all": `name: a`,
	} {
		if got, err := parse([]byte(in)); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}
