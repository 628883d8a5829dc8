package ociimage

import (
	"io/fs"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// image is what one archive holds.
type image struct {
	name   string   // of the archive, without ".tar"
	refs   []string // the first is the usual one
	config v1.Config
	files  []file
}

// file is one entry of a layer: exactly one of source, body, link and dir is
// used. Directories that files need are added by themselves.
type file struct {
	path   string // without a leading slash
	mode   fs.FileMode
	source string // file on this machine that must be a static program
	body   string
	link   string // target of a symbolic link
	dir    bool
}

// nonroot is the user that distroless images call so.
const nonroot = "65532:65532"

// searchPath is what container runtimes look commands up in.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// images is the table of what the system root carries. References are those
// that the manifests of the node name; a tag is only given where it is the
// version that is inside.
func images(o Options, applets []string) []image {
	bin := func(name string) string { return filepath.Join(o.Bin, name) }
	return []image{
		{
			name: "pause",
			refs: []string{"registry.k8s.io/pause:3.10", "docker.io/portainer/pause:latest"},
			config: v1.Config{
				Entrypoint: []string{"/pause"},
				User:       "65535:65535",
			},
			files: []file{{path: "pause", mode: 0o755, source: bin("pause")}},
		},
		{
			name: "coredns",
			refs: []string{"registry.k8s.io/coredns/coredns:v1.14.4", "docker.io/coredns/coredns:1.14.4"},
			// Not root: in a pod's own network namespace every port may be bound
			// by anyone (containerd's enable_unprivileged_ports).
			config: v1.Config{
				Entrypoint:   []string{"/coredns"},
				WorkingDir:   "/",
				User:         nonroot,
				ExposedPorts: map[string]struct{}{"53/tcp": {}, "53/udp": {}},
				Env:          []string{searchPath},
			},
			files: []file{{path: "coredns", mode: 0o755, source: bin("coredns")}},
		},
		{
			name: "local-path-provisioner",
			refs: []string{"docker.io/rancher/local-path-provisioner:v0.0.30"},
			config: v1.Config{
				Entrypoint: []string{"local-path-provisioner"},
				Env:        []string{searchPath},
			},
			files: []file{{path: "usr/bin/local-path-provisioner", mode: 0o755, source: bin("local-path-provisioner")}},
		},
		{
			// The helper pods of local-path-provisioner run "busybox", untagged.
			name: "busybox",
			refs: []string{"docker.io/library/busybox:latest"},
			config: v1.Config{
				Cmd: []string{"sh"},
				Env: []string{searchPath},
			},
			files: busyboxFiles(o.Busybox, applets),
		},
	}
}

func busyboxFiles(busybox string, applets []string) []file {
	files := []file{
		{path: "bin/busybox", mode: 0o755, source: busybox},
		{path: "etc/passwd", mode: 0o644, body: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
		{path: "etc/group", mode: 0o644, body: "root:x:0:\nnogroup:x:65534:\n"},
		{path: "root", mode: 0o700, dir: true},
		{path: "tmp", mode: 0o777 | fs.ModeSticky, dir: true},
		{path: "var/tmp", mode: 0o777 | fs.ModeSticky, dir: true},
		{path: "usr/bin/env", mode: 0o777, link: "/bin/busybox"}, // for scripts that begin with it
	}
	for _, applet := range applets {
		if applet != "busybox" {
			files = append(files, file{path: "bin/" + applet, mode: 0o777, link: "busybox"})
		}
	}
	return files
}
