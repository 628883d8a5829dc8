package vmrun

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/event"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s", path, got)
	}
}

func TestProgress(t *testing.T) {
	p := newProgress()
	var out strings.Builder
	out.WriteString(p.waiting(0.5) + "\n")
	for _, e := range []event.Event{
		{Time: 4.1, Type: event.Step, Name: "modules", State: "started"},
		{Time: 4.9, Type: event.Step, Name: "modules", State: "ok", Duration: 0.8},
		{Time: 5.0, Type: event.Step, Name: "network", State: "started"},
		{Time: 5.1, Type: event.Step, Name: "cloud-init", State: "degraded", Message: "line 3: not YAML\nhint: see docs", Duration: 0.02},
	} {
		if line := p.line(e); line != "" {
			out.WriteString(line + "\n")
		}
	}
	out.WriteString(p.waiting(10) + "\n")
	for _, e := range []event.Event{
		{Time: 11, Type: event.Step, Name: "network", State: "ok", Message: "eth0 10.0.2.15/24", Duration: 6},
		{Time: 12, Type: event.Service, Name: "containerd", State: "starting"},
		{Time: 13, Type: event.Service, Name: "containerd", State: "running"},
		{Time: 14, Type: event.Service, Name: "containerd", State: "ready"},
		{Time: 15, Type: event.Service, Name: "kubesolo", State: "running"},
		{Time: 15, Type: event.Health, Name: "api", State: "waiting", Message: "connection refused"},
		{Time: 17, Type: event.Health, Name: "api", State: "waiting", Message: "connection refused"},
	} {
		if line := p.line(e); line != "" {
			out.WriteString(line + "\n")
		}
	}
	out.WriteString(p.waiting(22) + "\n")
	for _, e := range []event.Event{
		{Time: 60, Type: event.Health, Name: "api", State: "ok"},
		{Time: 61, Type: event.Service, Name: "kubesolo", State: "ready"},
		{Time: 65, Type: event.Ready, Name: "node", Message: "v1.36.1"},
	} {
		out.WriteString(p.line(e) + "\n")
	}
	out.WriteString(p.waiting(70) + "\n")
	golden(t, "progress.txt", out.String())
}

// files answers GET requests from testdata.
type files struct{}

func (files) Do(_ context.Context, _, path string, _, out any) error {
	b, err := os.ReadFile(filepath.Join("testdata", filepath.Base(path)+".json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

func TestTables(t *testing.T) {
	nodes, err := listNodes(t.Context(), files{})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := listPods(t.Context(), files{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := printTables(&out, nodes, pods); err != nil {
		t.Fatal(err)
	}
	golden(t, "tables.txt", out.String())
}

func TestConfig(t *testing.T) {
	build := t.TempDir()
	if _, _, err := (Options{Build: build}).config(t.Context()); err == nil || !strings.Contains(err.Error(), "make image") {
		t.Errorf("no image: %v", err)
	}
	for _, f := range []string{"vmlinuz", "kubesolo-os.gz", "kubesolo-os-amd64.iso", "kubesolo-os-amd64.img"} {
		if err := os.WriteFile(filepath.Join(build, f), make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, notes, err := Options{Build: build}.config(t.Context())
	if err != nil || c.ISO == "" || len(c.Disks) != 1 || c.NIC == nil || c.Memory != 2048 {
		t.Fatalf("%+v, %v", c, err)
	}
	if info, err := os.Stat(c.Disks[0].Path); err != nil || info.Size() != dataSize {
		t.Errorf("data disk: %v %v", info, err)
	}
	if _, again, err := (Options{Build: build}).config(t.Context()); err != nil || again[0] == notes[0] {
		t.Errorf("the second run says %q, %v", again, err)
	}
	c, _, err = Options{Build: build, Append: []string{"kubesolo.debug", "a=b"}, Offline: true}.config(t.Context())
	if err != nil || !strings.HasSuffix(c.Append, " kubesolo.debug a=b") || c.NIC != nil || c.ISO != "" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, _, err = (Options{Build: build, Append: []string{"x"}, UEFI: true}).config(t.Context()); err == nil {
		t.Error("--append with --uefi is accepted")
	}
	// What the menu does not have is given to the same node.
	disk, _, err := Options{Build: build, Disk: true}.config(t.Context())
	c, _, directErr := Options{Build: build, Append: []string{"kubesolo.shell"}, Disk: true}.config(t.Context())
	if err != nil || directErr != nil || c.Kernel == "" || !strings.HasSuffix(c.Append, " kubesolo.shell") || c.Disks[0] != disk.Disks[0] {
		t.Errorf("%+v, %v; the disk alone %+v, %v", c, directErr, disk, err)
	}
}

// What a run needs is what the machine is made of: a name that vmtest no longer uses
// would be asked for in vain, and the one that it uses not at all.
func TestNeeds(t *testing.T) {
	var source []byte
	for _, file := range []string{"../vmtest/config.go", "../vmtest/vm.go", "artefacts.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, text...)
	}
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{}, "qemu-system-x86_64"},
		{Options{Disk: true}, "qemu-system-x86_64 qemu-img"},
		{Options{UEFI: true}, "qemu-system-x86_64 /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_VARS_4M.fd"},
		{Options{Append: []string{"kubesolo.shell"}, Console: true}, "qemu-system-x86_64"},
	} {
		needs := c.options.Needs()
		if got := strings.Join(needs, " "); got != c.want {
			t.Errorf("%+v needs %s, want %s", c.options, got, c.want)
		}
		for _, name := range needs {
			if !bytes.Contains(source, []byte(`"`+name+`"`)) {
				t.Errorf("%s is needed, and nothing uses it", name)
			}
		}
	}
}

// The README shows the end of a run as it is printed, and only commands that there are:
// ksimage is run from the checkout and is in no PATH.
func TestWhatNow(t *testing.T) {
	text := whatNow("build/kubeconfig", false)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), text) {
		t.Errorf("README.md does not have:\n%s", text)
	}
	for disk, shell := range map[bool]string{
		false: "make run ARGS='--console --append kubesolo.shell'",
		true:  "make run-disk ARGS='--console --append kubesolo.shell'",
	} {
		text := whatNow("k", disk)
		if strings.Contains(text, "  ksimage") || !strings.Contains(text, shell) || !strings.Contains(text, "docs/ssh.md") {
			t.Errorf("disk %v:\n%s", disk, text)
		}
	}
	if !strings.Contains(whatNow("k", true), "then make run-disk: ") {
		t.Errorf("from the disk image:\n%s", whatNow("k", true))
	}
	if _, err := os.Stat("../../docs/ssh.md"); err != nil {
		t.Error(err)
	}
}

func TestOverlayIsMadeAnewWithTheImage(t *testing.T) {
	dir := t.TempDir()
	image, path := filepath.Join(dir, "a.img"), filepath.Join(dir, "o.qcow2")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	var said []string
	for range 2 {
		notes, err := overlay(t.Context(), image, path)
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, notes...)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	later := info.ModTime().Add(1e9)
	if err := os.Chtimes(image, later, later); err != nil {
		t.Fatal(err)
	}
	notes, err := overlay(t.Context(), image, path)
	if err != nil {
		t.Fatal(err)
	}
	said = append(said, notes...)
	for i, want := range []string{"(new, over a.img)", "kept from", "image was rebuilt"} {
		if !strings.Contains(said[i], want) {
			t.Errorf("%d: %q, want %q", i, said[i], want)
		}
	}
}
