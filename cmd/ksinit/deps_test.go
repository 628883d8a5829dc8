package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sizeBudget is what PID 1 may weigh, stripped: its file is in every image
// twice (initramfs and root). The aim is 4 MB.
const sizeBudget = 6_000_000

// TestDependencies keeps out of PID 1 what must not be there, with the reason.
func TestDependencies(t *testing.T) {
	banned := map[string]string{
		"os/exec":                                "waits for children itself; the reaper owns wait4, and statuses were lost beside it",
		"net/http":                               "3 MB and TLS; health and updates are ksagent's",
		"crypto/tls":                             "a parser of hostile input; ksagent's",
		"text/template":                          "keeps all methods alive in the linker",
		"html/template":                          "keeps all methods alive in the linker",
		"google.golang.org/grpc":                 "10 MB resident; ksagent's",
		"github.com/containerd":                  "14 MB resident; ksagent's",
		"k8s.io":                                 "ksagent and kubesolo talk to Kubernetes",
		"github.com/sirupsen/logrus":             "the log is log/slog",
		"kubesolo.io/os/internal/image":          "runs on the build host",
		"kubesolo.io/os/internal/vmtest":         "runs on the build host",
		"kubesolo.io/os/internal/nstest":         "for tests",
		"kubesolo.io/os/internal/kubeapi":        "links net/http",
		"kubesolo.io/os/internal/health":         "ksagent's",
		"kubesolo.io/os/internal/preload":        "links the containerd client",
		"kubesolo.io/os/internal/update/fetch":   "ksagent's",
		"kubesolo.io/os/internal/update/kube":    "ksagent's",
		"kubesolo.io/os/internal/update/policy":  "ksagent's",
		"kubesolo.io/os/internal/update/source":  "links net/http",
		"kubesolo.io/os/internal/update/target":  "links net/http",
		"kubesolo.io/os/internal/update/trust":   "links crypto",
		"github.com/theupdateframework":          "parses what a server sends; ksagent's",
		"github.com/google/go-containerregistry": "runs on the build host",
	}
	deps := goList(t, "-deps", "-f", "{{.ImportPath}} {{.Imports}}", ".")
	for line := range strings.Lines(deps) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		for ban, reason := range banned {
			if pkg == ban || strings.HasPrefix(pkg, ban+"/") {
				t.Errorf("%s is linked: %s", pkg, reason)
			}
		}
		// yaml brings regexp with it, for time stamps; nobody else may.
		for _, imp := range strings.Fields(strings.Trim(imports, "[]")) {
			if imp == "regexp" && pkg != "gopkg.in/yaml.v3" {
				t.Errorf("%s imports regexp: 0.4 MB; use strings", pkg)
			}
		}
	}
}

// TestLayers: the packages at the bottom import nothing of ours, the next only
// those.
func TestLayers(t *testing.T) {
	const ours = "kubesolo.io/os/"
	layer := map[string]int{}
	for l, names := range [][]string{
		{"cmdline", "boot", "reap", "cgroup", "atomicfile", "klog", "event", "gpt", "uevent", "abslot", "fatfile"},
		{"mount", "kmod", "blockdev", "datafs", "netcfg", "netcfg/kernel", "netcfg/dhcp", "netcfg/dhcp6", "netcfg/linklocal", "supervise", "control", "bootlog", "netcfg/rdnss", "bootenv", "zram"},
		{"config", "cloudinit", "netcfg/manager", "update/window", "slots"},
	} {
		for _, name := range names {
			layer[ours+"internal/"+name] = l
		}
	}
	list := goList(t, "-deps", "-f", "{{.ImportPath}} {{.Imports}}", ".")
	for line := range strings.Lines(list) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		own, known := layer[pkg]
		if !strings.HasPrefix(pkg, ours) || strings.HasPrefix(pkg, ours+"cmd/") {
			continue
		}
		if !known {
			t.Errorf("%s has no layer; give it one here", pkg)
		}
		for _, imp := range strings.Fields(strings.Trim(imports, "[]")) {
			if l, ok := layer[imp]; ok && (l > own || own == 0) {
				t.Errorf("%s of layer %d imports %s of layer %d", pkg, own, imp, l)
			}
			if strings.HasPrefix(imp, ours+"cmd/") {
				t.Errorf("%s imports %s: nothing imports cmd", pkg, imp)
			}
		}
	}
}

func TestSize(t *testing.T) {
	out := filepath.Join(t.TempDir(), "ksinit")
	// As the image is built: without inlining, which is 0.5 MB.
	build(t, ".", out, "-gcflags", "all=-l")
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ksinit: %d bytes of %d", info.Size(), sizeBudget)
	if info.Size() > sizeBudget {
		t.Errorf("ksinit has %d bytes, the budget is %d", info.Size(), sizeBudget)
	}
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	return string(out)
}
