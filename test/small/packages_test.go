package small

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/ntptest"
	"kubesolo.io/os/internal/vmtest"
)

// vmLimit is for all packages together, on a slow machine under emulation.
const vmLimit = 15 * time.Minute

// TestPackages runs every TestVM... of the module in one machine. A test that
// a package lists but that gave no result is a failure, and so is a skip.
func TestPackages(t *testing.T) {
	k := findKernel(t)
	list, err := os.ReadFile("modules.txt")
	if err != nil {
		t.Fatal(err)
	}
	stage := k.subset(t, strings.Fields(string(list)))
	// The tests of what loads modules want some that are not loaded, one of them
	// of a device.
	loaded := strings.NewReplacer("loop ", "", "virtio_rng", "", "bonding ", "", "8021q ", "").Replace(string(list))
	writeFile(t, filepath.Join(stage, "modules"), []byte(loaded), 0o644)
	dataTemplate(t, filepath.Join(stage, "data.ext4.gz"))
	root := repository(t)
	run(t, root, "go", "build", "-o", filepath.Join(stage, "init"), "./test/small/vminit")
	copyFile(t, "/bin/busybox", filepath.Join(stage, "bin", "busybox"), 0o755)
	wanted := buildTests(t, root, stage)
	if len(wanted) == 0 {
		t.Fatal("no package has a TestVM... test")
	}
	dir := t.TempDir()
	initrd := filepath.Join(dir, "initrd")
	pack(t, stage, initrd)

	// A machine without a battery for its clock, and a server that knows the
	// time: 10.0.2.2 is this host's loopback.
	_, port, err := net.SplitHostPort(ntptest.Start(t, true).Address)
	if err != nil {
		t.Fatal(err)
	}
	vm := vmtest.Run(t, vmtest.Config{
		Kernel: k.Image, Initrd: initrd, Memory: 1024, Ports: []string{"io.kubesolo.test"},
		Append: fmt.Sprintf("console=ttyS0 panic=10 quiet ntptest.server=10.0.2.2:%s ntptest.time=%d", port, time.Now().Unix()),
		NIC:    &vmtest.NIC{}, Extra: []string{"-rtc", "base=1970-01-01T00:00:00"},
		Disks: []vmtest.Disk{
			{Path: sparse(t, filepath.Join(dir, "a.img"), 2<<30), Serial: "scratch-a"},
			{Path: sparse(t, filepath.Join(dir, "b.img"), 256<<20), Serial: "scratch-b"},
		},
	})
	results := collect(t, vm)
	for pkg, tests := range wanted {
		t.Run(pkg, func(t *testing.T) {
			r := results[pkg]
			if r == nil {
				t.Fatalf("did not run")
			}
			text := strings.Join(r.lines, "\n")
			for _, name := range tests {
				t.Run(name, func(t *testing.T) {
					if v := result(name, r.lines); v != "PASS" {
						t.Errorf("result %q in the VM:\n%s", v, text)
					}
				})
			}
			if r.exit != "ok" && !t.Failed() {
				t.Errorf("test binary: %s\n%s", r.exit, text)
			}
		})
	}
}

var testFunction = regexp.MustCompile(`(?m)^func TestVM\w*\(t \*testing\.T\)`)

// buildTests compiles the test binary of each package that has a TestVM... and
// gives the tests each one lists, by package path under internal or cmd.
func buildTests(t *testing.T, root, stage string) map[string][]string {
	t.Helper()
	found := map[string]bool{}
	for _, top := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err == nil && testFunction.Match(text) {
				found[filepath.Dir(path)] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	lists := map[string][]string{}
	for dir := range found {
		name, err := filepath.Rel(root, dir)
		if err != nil {
			t.Fatal(err)
		}
		into := filepath.Join(stage, "tests", strings.ReplaceAll(name, "/", "+"))
		binary := filepath.Join(into, filepath.Base(dir)+".test")
		run(t, root, "go", "test", "-c", "-o", binary, "./"+name)
		for line := range strings.Lines(run(t, dir, binary, "-test.list=^TestVM")) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "TestVM") {
				lists[name] = append(lists[name], line)
			}
		}
		if data := filepath.Join(dir, "testdata"); exists(data) {
			if err := os.CopyFS(filepath.Join(into, "testdata"), os.DirFS(data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return lists
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

type packageResult struct {
	lines []string
	exit  string
}

// collect reads vminit's reports until it is done.
func collect(t *testing.T, vm *vmtest.VM) map[string]*packageResult {
	t.Helper()
	results := map[string]*packageResult{}
	done := false
	ctx, cancel := context.WithTimeout(t.Context(), vmLimit)
	defer cancel()
	err := vm.Port("io.kubesolo.test").Lines(ctx, func(line []byte) bool {
		var m struct {
			Package, Line, Exit, Error string
			Done                       bool
		}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Errorf("report %q: %v", line, err)
			return true
		}
		if m.Error != "" {
			t.Errorf("vminit: %s", m.Error)
		}
		if m.Package != "" {
			r := results[m.Package]
			if r == nil {
				r = &packageResult{}
				results[m.Package] = r
			}
			if m.Exit != "" {
				r.exit = m.Exit
			} else {
				r.lines = append(r.lines, m.Line)
			}
		}
		done = m.Done
		return !done
	})
	if !done {
		t.Errorf("the VM ended early: %v", err)
		return results
	}
	if exit, err := vm.Wait(ctx); err != nil || exit.Reason != "guest-shutdown" || exit.Err != nil {
		t.Errorf("power off: %+v, %v", exit, err)
	}
	return results
}

// result finds the outermost result line of a test.
func result(name string, lines []string) string {
	for _, v := range []string{"PASS", "FAIL", "SKIP"} {
		if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "--- "+v+": "+name+" (") }) {
			return v
		}
	}
	return "none"
}
