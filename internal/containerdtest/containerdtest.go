// Package containerdtest runs the image's own containerd for a test: built from
// components/ as the image builder does, with the image's configuration, in
// directories of its own.
//
// It never touches a containerd of the machine. Tests that use it should run in
// a mount namespace (nstest), since snapshots are mounts.
package containerdtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"kubesolo.io/os/components"
)

// root of the source tree, from a package's directory under internal/.
const root = "../.."

// Daemon is a containerd that can die.
type Daemon struct {
	Client *containerd.Client

	argv, env []string
	log       bytes.Buffer
	cmd       *exec.Cmd
}

// Start is StartDaemon for tests that need no more than a client.
func Start(t *testing.T, also ...string) *containerd.Client {
	t.Helper()
	return StartDaemon(t, also...).Client
}

// StartDaemon builds the named components ("containerd" is always built), starts
// containerd with them in its PATH, and a client for it. It stops with the test.
func StartDaemon(t *testing.T, also ...string) *Daemon {
	t.Helper()
	bin := build(t, append(also, "containerd"))
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join(root, "rootfs-overlay/etc/containerd/config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"/var/lib/containerd", dir+"/root", "/run/containerd", dir+"/state",
		"/etc/cni/net.d", dir+"/cni", "oom_score = -999", "oom_score = 0",
	).Replace(string(config))
	if err := os.WriteFile(dir+"/config.toml", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := dir + "/c.sock"
	d := &Daemon{
		argv: []string{filepath.Join(bin, "containerd"), "--config", dir + "/config.toml", "--address", socket, "--log-level", "warn"},
		env:  []string{"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	d.start(t)
	t.Cleanup(func() {
		if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("containerd died: %v", err)
		}
		if err := d.cmd.Wait(); err != nil {
			t.Errorf("containerd: %v", err)
		}
		if t.Failed() {
			t.Logf("containerd said:\n%s", d.log.String())
		}
	})
	if d.Client, err = containerd.New(socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Client.Close() })
	d.serves(t)
	return d
}

// Crash kills containerd and starts it again, as ksinit does. Containers and
// their shims live on.
func (d *Daemon) Crash(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Wait() // says that it was killed
	d.start(t)
	d.serves(t)
}

func (d *Daemon) start(t *testing.T) {
	t.Helper()
	d.cmd = exec.Command(d.argv[0], d.argv[1:]...)
	d.cmd.Env = d.env
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (d *Daemon) serves(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if ok, err := d.Client.IsServing(ctx); err != nil || !ok {
		t.Fatalf("containerd does not serve: %v", err)
	}
}

func build(t *testing.T, names []string) string {
	t.Helper()
	all, err := components.All()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		i := slices.IndexFunc(all, func(c components.Component) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("no component named %s", name)
		}
		argv, env := all[i].Command(dir)
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = filepath.Join(root, "components")
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}
