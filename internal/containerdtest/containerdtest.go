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

// Start builds the named components ("containerd" is always built), starts
// containerd with them in its PATH, and returns a client for it. It stops with
// the test.
func Start(t *testing.T, also ...string) *containerd.Client {
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
	var log bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "containerd"), "--config", dir+"/config.toml", "--address", socket, "--log-level", "warn")
	cmd.Env = []string{"PATH=" + bin + ":/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("containerd died: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("containerd: %v", err)
		}
		if t.Failed() {
			t.Logf("containerd said:\n%s", log.String())
		}
	})
	client, err := containerd.New(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if ok, err := client.IsServing(ctx); err != nil || !ok {
		t.Fatalf("containerd does not serve: %v", err)
	}
	return client
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
