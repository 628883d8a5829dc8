package whole

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubesolo.io/os/internal/image/coretest"
	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/kubeapi"
)

// buildOfGivenParts is make image with all that a person may give it: the root of a
// Tiny Core core.gz, a kernel with its modules, an archive with a KubeSolo.
func buildOfGivenParts(t *testing.T, ksimage string) string {
	t.Helper()
	build, archive := filepath.Join(t.TempDir(), "build"), filepath.Join(t.TempDir(), "kubesolo-v0.0.0-linux-amd64.tar.gz")
	copyBuild(t, build)
	command(t, "tar", "-C", artefact(t, "bin"), "-I", "gzip -1", "-cf", archive, "kubesolo")
	core := coretest.File(t, coretest.Tree(t, inputs.Debian{Run: tool.New(nil, time.Unix(0, 0)), Cache: filepath.Join(build, "cache/debian")}))
	cmd := exec.CommandContext(t.Context(), ksimage, "build", "--out", build, "--level", "3", "--until", "iso", "--base", "tinycore", "--core-gz", core,
		"--kernel-image", artefact(t, "vmlinuz"), "--kernel-modules", artefact(t, "work/kernel"), "--kubesolo", archive)
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	for _, want := range []string{`kernel +\d\S+ \(file /\S+/vmlinuz\), \d+ modules`, `root +Tiny Core userland, \d+ entries`} {
		if !regexpMatch(t, want, string(out)) {
			t.Errorf("what was given is not in the image, no line matches %s:\n%s", want, out)
		}
	}
	if given, used := hashFile(t, artefact(t, "bin/kubesolo")), hashFile(t, filepath.Join(build, "work/kubesolo-release/kubesolo")); given != used {
		t.Error("the KubeSolo of the archive is not in the image")
	}
	return build
}

// TestMakeRun is make run, from the build to the Ctrl-C of the person: what is printed
// on the way to a new data disk, the kubeconfig, and the orderly end.
func TestMakeRun(t *testing.T) {
	artefact(t, "vmlinuz")
	ksimage := filepath.Join(t.TempDir(), "ksimage")
	command(t, "go", "build", "-o", ksimage, "../../cmd/ksimage")
	build := buildOfGivenParts(t, ksimage)
	ctx, cancel := context.WithTimeout(t.Context(), readyLimit)
	defer cancel()
	// In half of the memory that every other test of this tier has.
	cmd := exec.CommandContext(ctx, ksimage, "run", "--build", build, "--memory", "1024")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if !strings.HasPrefix(lines.Text(), "rebuild ") { // the last line while the node runs
			continue
		}
		kubeconfig, err := os.ReadFile(filepath.Join(build, "kubeconfig"))
		if err != nil {
			t.Error(err)
		}
		api, err := kubeapi.Load(kubeconfig)
		if err == nil {
			err = (&node{api: api}).nodeReady(ctx, time.Time{})
		}
		if err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ksimage run: %v", err)
	}
	text := said.String()
	for _, want := range []string{
		`data disk +\S+/data.img \(new and empty: the node formats it\)`,
		`ok +step +data \(\d+\.\d+ s\): /dev/vda formatted`,
		`ready +service +containerd`,
		`ok +health +coredns: coredns-`,
		`The node is Ready after \d+ s\.`,
		`kubesolo +Ready +v1\.\S+ +10\.0\.2\.15 +KubeSolo OS`,
		`kube-system +coredns-\S+ +1/1 +Running +0 +10\.42\.`,
		`use it +kubectl --kubeconfig \S+/kubeconfig get pods -A`,
		`shutting down in order`,
		`the machine ended: guest-reset`,
	} {
		if !regexp.MustCompile(`(?m)^.*` + want).MatchString(text) {
			t.Errorf("no line matches %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	mustBeClean(t, filepath.Join(build, "data.img"))
}
