package node

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"k8s.io/client-go/kubernetes"
)

// stopLimit is the promise of the program: an orderly end within 20 s.
const stopLimit = 20 * time.Second

// insideEnv marks the copy of the test that runs in its own network namespace.
const insideEnv = "KUBESOLO_TEST_INSIDE"

// inNamespace is true in a copy of this test that has a network namespace of
// its own, where the node's fixed ports are free. Otherwise it runs that copy
// and reports its result. It fails instead of skipping when KS_REQUIRE_NS is 1,
// so that a machine of the test farm cannot lose the test silently.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		loopback, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(loopback)
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	}
	command := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), insideEnv+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	output := &transcript{}
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		if os.Getenv("KS_REQUIRE_NS") == "1" {
			t.Fatalf("network namespaces are required: %v", err)
		}
		t.Skipf("no network namespace: %v", err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	return false
}

// process is a control plane in a network namespace of its own.
type process struct {
	path    string
	command *exec.Cmd
	input   io.Closer
	output  *transcript
	ended   chan struct{}
}

type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *transcript) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startNode starts one with settings, "KEY=value" as in its real life.
func startNode(t *testing.T, path, address string, settings ...string) *process {
	t.Helper()
	p := &process{path: path, output: &transcript{}, ended: make(chan struct{})}
	p.command = exec.Command("/proc/self/exe")
	p.command.Env = append(settings, childPath+"="+path, childAddress+"="+address, "PATH="+os.Getenv("PATH"))
	p.command.Stdout, p.command.Stderr = p.output, p.output
	input, err := p.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.input = input
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait() // the exit code is read from ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill() // ended processes are fine too
		<-p.ended
		if t.Failed() {
			t.Logf("output of the node at %s:\n%s", address, p.output)
		}
	})
	p.await(t, "component ready: addons")
	p.await(t, "component ready: controllers")
	return p
}

func (p *process) await(t *testing.T, line string) {
	t.Helper()
	deadline := time.After(limit)
	for !strings.Contains(p.output.String(), line) {
		select {
		case <-p.ended:
			t.Fatalf("the node ended before %q", line)
		case <-deadline:
			t.Fatalf("no %q", line)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *process) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := adminClient(p.path)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.input.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		t.Fatalf("still running %s after the stop", stopLimit)
	}
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
