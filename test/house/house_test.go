package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// maxLines is the size over which a file has proved to hold two ideas.
const maxLines = 400

// files lists the Go files git would commit, relative to the repository root.
func files(t *testing.T) (root string, names []string) {
	t.Helper()
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatalf("git rev-parse: %v", err)
	}
	root = strings.TrimSpace(string(out))
	command := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "*.go")
	command.Dir = root
	out, err = command.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for _, name := range strings.Fields(string(out)) {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("no Go files found: the rules would be checked on nothing")
	}
	return root, names
}

func TestTreeKeepsTheRules(t *testing.T) {
	root, names := files(t)
	documented := map[string]bool{}
	packages := map[string]bool{}
	for _, name := range names {
		source, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range checkFile(name, source) {
			t.Error(problem)
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		packages[filepath.Dir(name)] = true
		if file.Doc != nil {
			documented[filepath.Dir(name)] = true
		}
	}
	for dir := range packages {
		if !documented[dir] {
			t.Errorf("%s: no package doc: say what it owns, what it never does, how it is tested", dir)
		}
	}
}

// checkFile returns one line for every rule the file breaks.
func checkFile(name string, source []byte) (problems []string) {
	if lines := bytes.Count(source, []byte("\n")); lines > maxLines {
		problems = append(problems, fmt.Sprintf("%s: %d lines, at most %d: split it by idea", name, lines, maxLines))
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.ParseComments)
	if err != nil {
		return append(problems, fmt.Sprintf("%s: %v", name, err))
	}
	for _, group := range file.Comments {
		for _, word := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"} {
			if slices.Contains(strings.FieldsFunc(group.Text(), notLetter), word) {
				problems = append(problems, fmt.Sprintf("%s: %s left open", set.Position(group.Pos()), word))
			}
		}
	}
	test := strings.HasSuffix(name, "_test.go")
	for _, declaration := range file.Decls {
		switch declaration := declaration.(type) {
		case *ast.FuncDecl:
			if declaration.Name.Name == "init" && declaration.Recv == nil {
				problems = append(problems, fmt.Sprintf("%s: init function: wire it in main", set.Position(declaration.Pos())))
			}
		case *ast.GenDecl:
			if declaration.Tok != token.VAR || test {
				continue
			}
			for _, spec := range declaration.Specs {
				if value := spec.(*ast.ValueSpec); mutable(value) && !allowed(name, value, declaration, source, set) {
					problems = append(problems, fmt.Sprintf("%s: package-level variable %s: pass it, or make it a function", set.Position(value.Pos()), value.Names[0].Name))
				}
			}
		}
	}
	return problems
}

func notLetter(r rune) bool { return !unicode.IsLetter(r) }

// mutable reports whether a package-level variable may hold state: everything
// but blank assertions, error sentinels and compiled patterns.
func mutable(value *ast.ValueSpec) bool {
	for index, name := range value.Names {
		if name.Name == "_" {
			continue
		}
		if index >= len(value.Values) {
			return true
		}
		call, ok := value.Values[index].(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		switch pkg.Name + "." + selector.Sel.Name {
		case "errors.New", "regexp.MustCompile":
		default:
			return true
		}
	}
	return false
}

// allowed are the two kinds of variable Go offers no other form for: embedded
// files, and the version that the linker sets (-X) in a main package.
func allowed(name string, value *ast.ValueSpec, declaration *ast.GenDecl, source []byte, set *token.FileSet) bool {
	if declaration.Doc != nil {
		for _, comment := range declaration.Doc.List {
			if strings.HasPrefix(comment.Text, "//go:embed ") {
				return true
			}
		}
	}
	if value.Doc != nil {
		for _, comment := range value.Doc.List {
			if strings.HasPrefix(comment.Text, "//go:embed ") {
				return true
			}
		}
	}
	return len(value.Names) == 1 && value.Names[0].Name == "version" && bytes.Contains(source, []byte("package main"))
}

func TestRulesRefuse(t *testing.T) {
	for _, test := range []struct{ name, source, want string }{
		{"init", "package a\nfunc init() {}\n", "init function"},
		{"state", "package a\nvar cache = map[string]int{}\n", "package-level variable cache"},
		{"zero value", "package a\nvar counter int\n", "package-level variable counter"},
		{"open end", "package a\n\n// TO" + "DO: later\nfunc f() {}\n", "left open"},
		{"long", "package a\n" + strings.Repeat("\n", maxLines), "at most 400"},
	} {
		t.Run(test.name, func(t *testing.T) {
			problems := strings.Join(checkFile("a.go", []byte(test.source)), "\n")
			if !strings.Contains(problems, test.want) {
				t.Errorf("got %q, want a problem with %q", problems, test.want)
			}
		})
	}
	clean := "package a\nimport \"errors\"\nvar errGone = errors.New(\"gone\")\nvar _ error = errGone\n"
	if problems := checkFile("a.go", []byte(clean)); len(problems) != 0 {
		t.Errorf("a clean file was refused: %v", problems)
	}
}
