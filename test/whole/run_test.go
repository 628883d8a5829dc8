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

	"kubesolo.io/os/internal/kubeapi"
)

// TestMakeRun is make run after its build, from a new data disk to the Ctrl-C of
// the person: what is printed on the way, the kubeconfig, and the orderly end.
func TestMakeRun(t *testing.T) {
	build, ksimage := t.TempDir(), filepath.Join(t.TempDir(), "ksimage")
	for _, name := range []string{"kubesolo-os-amd64.iso", "vmlinuz"} {
		if err := os.Symlink(artefact(t, name), filepath.Join(build, name)); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "go", "build", "-o", ksimage, "../../cmd/ksimage")
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
