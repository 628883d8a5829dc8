package gobuild

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/inputs"
)

func TestLockModules(t *testing.T) {
	b := Builder{Lock: &inputs.Lock{}}
	program := filepath.Join(t.TempDir(), "slotinit") // it has one module that is not of this checkout
	if out, err := exec.Command("go", "build", "-o", program, "kubesolo.io/os/test/small/slotinit").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range 2 { // twice is once
		if err := b.lockModules(program); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]int{}
	for _, in := range b.Lock.List() {
		names[in.Name]++
		if in.Kind != "go-module" || in.Version == "" || !strings.HasPrefix(in.GoSum, "h1:") || strings.HasPrefix(in.Name, "kubesolo.io/os") {
			t.Errorf("%+v", in)
		}
	}
	if names["golang.org/x/sys"] != 1 {
		t.Errorf("got %v", names)
	}

	none := Builder{Lock: &inputs.Lock{}}
	if err := none.lockModules("/bin/sh"); err != nil || len(none.Lock.List()) != 0 {
		t.Errorf("a program in C: %v, %v", none.Lock.List(), err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := none.lockModules(file); err == nil {
		t.Error("no error for what is no program")
	}
}

func TestModuleInput(t *testing.T) {
	if in, ok := moduleInput(&debug.Module{Path: "example.org/x", Version: "v1.2.3", Sum: "h1:abc="}); !ok ||
		in != (inputs.Input{Name: "example.org/x", Kind: "go-module", Version: "v1.2.3", Origin: "example.org/x@v1.2.3", GoSum: "h1:abc="}) {
		t.Errorf("%+v, %v", in, ok)
	}
	if in, ok := moduleInput(&debug.Module{Path: "../..", Version: "(devel)"}); ok {
		t.Errorf("a directory of the checkout is an input: %+v", in)
	}
}
