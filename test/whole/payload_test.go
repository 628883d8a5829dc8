package whole

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/u-root/u-root/pkg/cpio"

	"kubesolo.io/os/internal/image"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/kmod"
	"kubesolo.io/os/internal/vmtest"
)

// channel is a repository of updates as an operator publishes it, made with
// ksimage and the test keys that the image trusts, behind a real file server.
type channel struct {
	t       *testing.T
	dir     string // build directory for other versions
	repo    string
	ksimage string
	URL     string // as the guest reaches it
}

func newChannel(t *testing.T) *channel {
	t.Helper()
	dir := t.TempDir()
	c := &channel{t: t, dir: filepath.Join(dir, "build"), repo: filepath.Join(dir, "repository"), ksimage: filepath.Join(dir, "ksimage")}
	command(t, "go", "build", "-trimpath", "-o", c.ksimage, "../../cmd/ksimage")
	copyBuild(t, c.dir)
	server := httptest.NewServer(http.FileServer(http.Dir(c.repo)))
	t.Cleanup(server.Close)
	// 10.0.2.2 is this machine as QEMU's user-mode network shows it.
	c.URL = strings.Replace(server.URL, "127.0.0.1", "10.0.2.2", 1)
	return c
}

// copyBuild begins another build directory with what is made already.
func copyBuild(t *testing.T, dir string) {
	t.Helper()
	built := filepath.Dir(artefact(t, "vmlinuz"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"bin", "cache", "stamps", "work", "images", "keys"} {
		command(t, "cp", "-a", "--reflink=auto", filepath.Join(built, part), dir)
	}
}

// stick is a medium with the repository as it is now.
func (c *channel) stick() string {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), "stick.img")
	command(c.t, "mkfs.vfat", "-C", "-n", "KSOLOUPDATE", path, "262144")
	command(c.t, "mmd", "-i", path, "::kubesolo-os")
	command(c.t, "mcopy", "-s", "-i", path, filepath.Join(c.repo, "metadata"), filepath.Join(c.repo, "targets"), "::kubesolo-os")
	return path
}

// publish adds a slot image to the repository.
func (c *channel) publish(slot string) {
	c.t.Helper()
	command(c.t, c.ksimage, "update", "--out", c.dir, "--repository", c.repo, "--slot", slot)
}

// build makes and publishes a version of the image. Level 1 is quick: what counts
// here is that it is another one.
func (c *channel) build(version string, replace ...string) {
	c.t.Helper()
	begun := time.Now()
	args := []string{"-C", "../..", c.ksimage, "build", "--out", c.dir, "--version", version, "--level", "1", "--quiet"}
	for _, r := range replace {
		args = append(args, "--replace", r)
	}
	command(c.t, "env", args...)
	c.publish(filepath.Join(c.dir, "slot.squashfs"))
	c.t.Logf("version %s is built and published after %.0f s", version, time.Since(begun).Seconds())
}

// program compiles Go code to a static program.
func (c *channel) program(name, code string) string {
	c.t.Helper()
	dir := filepath.Join(c.t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	file, out := filepath.Join(dir, "main.go"), filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
		c.t.Fatal(err)
	}
	command(c.t, "env", "CGO_ENABLED=0", "go", "build", "-o", out, file)
	return out
}

// bad publishes a version that is a kernel and an init that ends or hangs.
func (c *channel) bad(version string, hangs bool) {
	c.t.Helper()
	dir := c.t.TempDir()
	init := filepath.Join(dir, "init")
	command(c.t, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", init, "./badinit")
	records := []cpio.Record{cpio.Directory("dev", 0o755)}
	add := func(name, file string, mode uint64) {
		text, err := os.ReadFile(file)
		if err != nil {
			c.t.Fatal(err)
		}
		records = append(records, cpio.StaticFile(name, string(text), mode))
	}
	add("init", init, 0o755)
	if hangs {
		records = append(records, cpio.StaticFile("hang", "", 0o644))
		for i, path := range c.watchdogModules() {
			add(fmt.Sprintf("%02d-%s", i, filepath.Base(path)), path, 0o644)
		}
	}
	initramfs := filepath.Join(dir, "kubesolo-os.gz")
	if err := vmtest.WriteInitramfs(initramfs, "", records); err != nil {
		c.t.Fatal(err)
	}
	slot := filepath.Join(dir, "slot.squashfs")
	err := image.WriteSlot(c.t.Context(), tool.New(nil, time.Unix(1_800_000_000, 0)), slot,
		image.SlotInfo{Version: version, Architecture: "amd64"}, artefact(c.t, "vmlinuz"), initramfs)
	if err != nil {
		c.t.Fatal(err)
	}
	c.publish(slot)
}

// watchdogModules are the driver of QEMU's watchdog and what that needs, in the
// order in which they are loaded, from the kernel of the image.
func (c *channel) watchdogModules() []string {
	c.t.Helper()
	root := filepath.Join(c.dir, "work", "modules")
	releases, err := filepath.Glob(filepath.Join(root, "lib", "modules", "*"))
	if err != nil || len(releases) != 1 {
		c.t.Fatalf("modules of the image: %v %v", releases, err)
	}
	index, err := kmod.Open(root, filepath.Base(releases[0]))
	if err != nil {
		c.t.Fatal(err)
	}
	plan, err := index.Plan("i6300esb")
	if err != nil {
		c.t.Fatal(err)
	}
	return plan
}
