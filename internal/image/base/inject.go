package base

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"kubesolo.io/os/internal/image/tree"
)

// Parts is what KubeSolo OS puts into a userland. Host paths; "" leaves a part out only
// where the field's comment says so.
type Parts struct {
	Binaries map[string]string // path in the root -> host file, 0755
	Overlay  string            // rootfs-overlay directory
	Modules  string            // directory holding lib/modules/<release>
	Images   string            // directory of *.tar and images.json
	Template string            // data.ext4.gz
	Release  OSRelease
	Built    time.Time // SOURCE_DATE_EPOCH: no clock of a node may show less
	Engine   string    // what kubesolo is: solonode, or kubesolo for KubeSolo's own
	Root     string    // content of root.json, from which on the node believes updates
}

// OSRelease fills /etc/os-release.
type OSRelease struct {
	Version string // 0.1.0
	Build   string // commit, or "unknown"
	Base    string // debian or tinycore
	Kernel  string // release
}

// origins maps a path in the root to the part that the table of sizes counts it under.
func originOf(p string) string {
	switch {
	case strings.HasPrefix(p, "opt/cni/"):
		return "cni plugins"
	case path.Base(p) == "containerd-shim-runc-v2":
		return "containerd"
	}
	return path.Base(p)
}

// Inject adds the parts to the userland, makes the mount points, and points the names
// that the node writes at run time into /run.
func Inject(t *tree.Tree, parts Parts) error {
	if err := directories(t); err != nil {
		return err
	}
	if parts.Overlay != "" {
		if err := t.AddDir(parts.Overlay, "/", "configuration"); err != nil {
			return fmt.Errorf("rootfs-overlay: %w", err)
		}
		if n := t.Get("etc/shadow"); n != nil {
			n.Mode = 0o600
		}
	}
	// A place only: ksinit binds itself there, out of the initramfs. Not
	// executable: for an empty program that it may execute the kernel asks
	// modprobe, which is a link to here, for its format, and never ends.
	t.Remove("sbin/init")
	if err := t.File("sbin/init", 0o444, tree.Bytes(nil), "configuration"); err != nil {
		return err
	}
	for _, name := range []string{"modprobe", "poweroff", "reboot", "halt"} {
		for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin"} {
			t.Remove(path.Join(dir, name))
		}
		if err := t.Link("sbin/"+name, "init", "configuration"); err != nil {
			return err
		}
	}
	// The operator's tool is the agent by another name; see cmd/ksagent.
	if err := t.Link("usr/local/bin/ksctl", "ksagent", "configuration"); err != nil {
		return err
	}
	for to, from := range parts.Binaries {
		data, err := tree.HostFile(from)
		if err != nil {
			return fmt.Errorf("program %s: %w", to, err)
		}
		if err := t.File(to, 0o755, data, originOf(to)); err != nil {
			return err
		}
	}
	if err := addDir(t, parts.Modules, "/", "kernel modules"); err != nil {
		return fmt.Errorf("kernel modules: %w", err)
	}
	if err := addDir(t, parts.Images, "usr/share/kubesolo/images", "container images"); err != nil {
		return fmt.Errorf("container images: %w", err)
	}
	if parts.Template != "" {
		data, err := tree.HostFile(parts.Template)
		if err != nil {
			return fmt.Errorf("data partition template: %w", err)
		}
		if err := t.File("usr/share/kubesolo/data.ext4.gz", 0o644, data, "configuration"); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"etc/os-release":                   osRelease(parts.Release),
		"etc/kubesolo-os/build-time":       strconv.FormatInt(parts.Built.Unix(), 10) + "\n",
		"etc/kubesolo-os/engine":           parts.Engine + "\n",
		"etc/kubesolo-os/update/root.json": parts.Root,
	} {
		if err := t.File(name, 0o644, tree.Bytes(text), "configuration"); err != nil {
			return err
		}
	}
	return nil
}

func addDir(t *tree.Tree, dir, at, origin string) error {
	if dir == "" {
		return nil
	}
	return t.AddDir(dir, at, origin)
}

// directories makes every directory that must exist on the read-only root because
// something is mounted on it, or because a program insists on it.
func directories(t *tree.Tree) error {
	for _, d := range []struct {
		path string
		perm fs.FileMode
	}{
		{"bin", 0o755}, {"sbin", 0o755}, {"usr/bin", 0o755}, {"usr/sbin", 0o755}, {"usr/lib", 0o755}, {"lib", 0o755},
		{"dev", 0o755}, {"proc", 0o555}, {"sys", 0o555}, {"run", 0o755}, {"tmp", 0o777 | fs.ModeSticky}, {"var", 0o755},
		{"data", 0o755}, {"mnt", 0o755}, {"media", 0o755}, {"home", 0o755}, {"root", 0o700}, {"boot", 0o755},
		{"etc/kubesolo", 0o755}, {"etc/cni/net.d", 0o755}, {"opt/cni/bin", 0o755}, {"usr/local/bin", 0o755},
		{"usr/share/kubesolo", 0o755},
		// The kubelet makes its flexvolume directory and complains on a read-only /usr.
		{"usr/libexec/kubernetes/kubelet-plugins/volume/exec", 0o755},
	} {
		if err := t.Dir(d.path, d.perm, "configuration"); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{
		{"etc/resolv.conf", "/run/etc/resolv.conf"}, {"etc/hostname", "/run/etc/hostname"},
		{"etc/hosts", "/run/etc/hosts"}, {"etc/machine-id", "/run/etc/machine-id"}, {"etc/mtab", "/proc/self/mounts"},
	} {
		t.Remove(l[0])
		if err := t.Link(l[0], l[1], "configuration"); err != nil {
			return err
		}
	}
	return nil
}

func osRelease(r OSRelease) string {
	return fmt.Sprintf(`NAME="KubeSolo OS"
ID=kubesolo-os
ID_LIKE=%s
PRETTY_NAME="KubeSolo OS %s"
VERSION_ID=%s
BUILD_ID=%s
KERNEL_RELEASE=%s
HOME_URL="https://kubesolo.io"
`, r.Base, r.Version, r.Version, r.Build, r.Kernel)
}
