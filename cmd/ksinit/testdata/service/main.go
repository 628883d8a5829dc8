// Command service stands where containerd, kubesolo and ksagent are, in the
// tests of ksinit: it listens where they do and ends at SIGTERM. As kubesolo it
// leaves an orphan behind, which ends on its own.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	name := filepath.Base(os.Args[0])
	fmt.Println(name, "starts with", os.Args[1:])
	if len(os.Args) > 1 && os.Args[1] == "stop-pods" {
		return
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	switch name {
	case "containerd":
		must(os.MkdirAll("/run/containerd", 0o755))
		_ = os.Remove("/run/containerd/containerd.sock")
		_, err := net.Listen("unix", "/run/containerd/containerd.sock")
		must(err)
	case "kubesolo":
		_, err := net.Listen("tcp", "127.0.0.1:6443")
		must(err)
		must(exec.Command("/bin/busybox", "sh", "-c", "busybox sleep 0.2 &").Run())
	}
	<-term
	fmt.Println(name, "ends")
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
