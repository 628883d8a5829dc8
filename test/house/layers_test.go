package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "kubesolo.io/os"

// layer returns the layer of a package of this module, or -1 for one that
// runs on the build host only. Layers are those of docs/adr/0005.
func layer(path string) int {
	name, ok := strings.CutPrefix(path, module+"/internal/")
	if !ok {
		return -1
	}
	top, _, _ := strings.Cut(name, "/")
	switch top {
	case "cmdline", "boot", "reap", "cgroup", "atomicfile", "klog", "event", "gpt", "uevent", "imagelist", "abslot", "fatfile":
		return 0
	case "blockdev", "bootlog", "control", "datafs", "kmod", "mount", "netcfg", "supervise", "zram", "bootenv":
		return 1
	case "audit", "clocksync", "cloudinit", "config", "ctl", "health", "kubeapi", "pods", "preload", "sshd", "update":
		return 2
	}
	return -1
}

func TestLayers(t *testing.T) {
	command := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...")
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := layer(pkg.ImportPath)
		if from >= 0 {
			seen++
		}
		for _, imported := range pkg.Imports {
			if strings.HasPrefix(imported, module+"/cmd/") {
				t.Errorf("%s imports %s: nothing imports cmd", pkg.ImportPath, imported)
			}
			if !strings.HasPrefix(imported, module+"/") || from < 0 {
				continue
			}
			to := layer(imported)
			switch {
			case to < 0:
				t.Errorf("%s imports %s: what runs on the node never needs what runs on the build host", pkg.ImportPath, imported)
			case from == 0:
				t.Errorf("%s imports %s: layer 0 imports nothing of ours", pkg.ImportPath, imported)
			case to > from:
				t.Errorf("%s (layer %d) imports %s (layer %d)", pkg.ImportPath, from, imported, to)
			}
		}
	}
	if seen == 0 {
		t.Fatal("no layered package found: the rule was checked on nothing")
	}
}
