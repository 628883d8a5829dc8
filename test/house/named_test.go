package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A document that says which test holds a promise is wrong as soon as the test
// has another name.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	root := filepath.Join("..", "..")
	defined := map[string]bool{}
	definition := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	named := map[string][]string{}
	mention := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "build" {
				return filepath.SkipDir
			}
			return nil
		}
		isTest := strings.HasSuffix(path, "_test.go")
		if !isTest && !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if isTest {
			for _, m := range definition.FindAllSubmatch(text, -1) {
				defined[string(m[1])] = true
			}
			return nil
		}
		for _, m := range mention.FindAllSubmatch(text, -1) {
			named[string(m[1])] = append(named[string(m[1])], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(named) == 0 {
		t.Fatal("no document names a test: the rule was checked on nothing")
	}
	for name, paths := range named {
		if !defined[name] {
			t.Errorf("%s names %s, and there is no such test", strings.Join(paths, ", "), name)
		}
	}
}
