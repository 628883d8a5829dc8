// Command service stands where containerd, kubesolo and ksagent are, in the
// tests of ksinit: it listens where they do, answers and gives heartbeats as they
// do, and ends at SIGTERM. As kubesolo it
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
	"time"

	"kubesolo.io/os/internal/event"
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
		l, err := net.Listen("unix", "/run/containerd/containerd.sock")
		must(err)
		go answer(l, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // empty SETTINGS of HTTP/2
	case "kubesolo":
		// Before it is ready: after that a test looks for what is left of it.
		must(exec.Command("/bin/busybox", "sh", "-c", "busybox sleep 0.2 &").Run())
		l, err := net.Listen("tcp", "127.0.0.1:6443")
		must(err)
		go answer(l, "\x15\x03\x01\x00\x02\x02\x46") // alert of TLS: protocol version
	case "ksagent":
		go beat()
	}
	<-term
	fmt.Println(name, "ends")
}

// answer says the same to everybody.
func answer(l net.Listener, text string) {
	for {
		conn, err := l.Accept()
		must(err)
		_, _ = conn.Write([]byte(text)) // who only looked is gone already
		time.AfterFunc(time.Second, func() { _ = conn.Close() })
	}
}

func beat() {
	for {
		if client, err := event.Dial(event.Socket); err == nil {
			client.Emit(event.Event{Type: event.Alive, Name: "ksagent"})
			_ = client.Close()
		}
		time.Sleep(5 * time.Second)
	}
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
