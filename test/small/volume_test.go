package small

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/event"
)

// volumeFiles are a NoCloud volume for a whole site: the machine whose link has
// QEMU's first hardware address has a file of its own.
func volumeFiles() map[string]string {
	return map[string]string{
		"meta-data":              "instance-id: 1\nlocal-hostname: from-meta-data\n",
		"network-config":         "version: 2\nethernets:\n  eth0: {dhcp4: true}\n",
		"user-data":              "#cloud-config\nhostname: site\nsysctl: {vm.swappiness: 7}\nregistries: {docker.io: {mirrors: [mirror]}}\n",
		"52-54-00-12-34-56.yaml": "#cloud-config\nhostname: this-box\n",
		"52-54-00-12-34-57.yaml": "#cloud-config\nhostname: neighbour\n",
	}
}

// configVolume makes it: FAT, as a stick has it.
func configVolume(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	image := sparse(t, filepath.Join(dir, "cidata.img"), 4<<20)
	run(t, dir, "mkfs.vfat", "-n", "CIDATA", image)
	for name, text := range volumeFiles() {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, dir, "mcopy", "-i", image, path, "::"+name)
	}
	return image
}

// checkVolume looks at what the boot said of it. One file is wrong in line 4:
// the others are used all the same.
func checkVolume(t *testing.T, events []event.Event) {
	t.Helper()
	said := map[string]event.Event{}
	for _, e := range events {
		if e.Type == event.Step && e.State != "started" {
			said[e.Name] = e
		}
	}
	for step, wants := range map[string][]string{
		"config-volume": {"meta-data", "network-config", "user-data", "52-54-00-12-34-56.yaml"},
		"config": {"network-config", "52-54-00-12-34-56.yaml", `user-data: line 4: registries.docker.io.mirrors: "mirror" is not a mirror`,
			"user-data is not used"},
		"hostname": {"this-box"},
	} {
		for _, want := range wants {
			if !strings.Contains(said[step].Message, want) {
				t.Errorf("step %s says %q (%s), want %s", step, said[step].Message, said[step].State, want)
			}
		}
		if strings.Contains(said[step].Message, "neighbour") || strings.Contains(said[step].Message, "12-34-57") {
			t.Errorf("step %s has to do with another machine's file: %s", step, said[step].Message)
		}
	}
}
