package vmrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/vmtest"
)

// quiet is how long nothing may be said before a waiting line is printed.
const quiet = 5 * time.Second

// ErrStopped is returned when the person asked for the end before Ready.
var ErrStopped = errors.New("stopped before the node was Ready")

// errLeft ends a boot with arguments of the person's own that was not to
// become Ready: a shell that was left by poweroff.
var errLeft = errors.New("the machine was switched off")

// session is one run.
type session struct {
	Options
	vm      *vmtest.VM
	out     io.Writer
	started time.Time
}

// Run boots and stays until the machine ends. The first value on interrupt
// shuts the node down in order, the second one cuts the power.
func Run(ctx context.Context, o Options, stdin io.Reader, out io.Writer, interrupt <-chan os.Signal) error {
	config, notes, err := o.config(ctx)
	if err != nil {
		return err
	}
	logPath := filepath.Join(o.Build, "serial.log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	mirror := io.Writer(log)
	if o.Console {
		mirror = io.MultiWriter(log, out)
	}
	s := &session{Options: o, out: out, started: time.Now()}
	if s.vm, err = vmtest.Start(ctx, config, mirror); err != nil {
		return err
	}
	s.say("image       %s", bootSource(config))
	for _, n := range notes {
		s.say("%s", n)
	}
	s.say("machine     %d CPUs, %s, accelerator %s", config.CPUs, memory(config), s.vm.Accel)
	s.say("serial log  %s", logPath)
	s.say("")
	if o.Console {
		go s.typeAll(stdin)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopping := s.stopOn(ctx, interrupt)
	p, events := newProgress(), s.vm.Events(ctx)
	switch err := s.untilReady(ctx, p, events, stopping); {
	case errors.Is(err, errLeft):
		return nil
	case err != nil:
		s.vm.PowerCut()
		return err
	}
	if o.Ready != nil {
		o.Ready()
	}
	if o.ExitWhenReady {
		if err := s.vm.CtrlAltDelete(ctx); err != nil {
			return err
		}
	}
	for e := range events { // until the machine's end
		s.show(p, e)
	}
	exit, err := s.vm.Wait(ctx)
	if err != nil {
		s.vm.PowerCut()
		return err
	}
	s.say("the machine ended: %s", exit.Reason)
	return exit.Err
}

func (s *session) say(format string, a ...any) {
	if !s.JSON {
		fmt.Fprintf(s.out, format+"\n", a...)
	}
}

func bootSource(c vmtest.Config) string {
	switch {
	case c.Kernel != "":
		return c.Kernel + " with " + c.Initrd + " " + c.Append
	case c.ISO != "":
		return c.ISO + firmware(c)
	}
	return c.Disks[0].Path + firmware(c)
}

func firmware(c vmtest.Config) string {
	if c.UEFI {
		return " (UEFI)"
	}
	return " (BIOS)"
}

func memory(c vmtest.Config) string { return fmt.Sprintf("%d MiB", c.Memory) }

// typeAll sends what the person types to the serial console.
func (s *session) typeAll(stdin io.Reader) {
	b := make([]byte, 256)
	for {
		n, err := stdin.Read(b)
		if n > 0 && s.vm.Type(string(b[:n])) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// stopOn presses ctrl-alt-delete on the first interrupt and closes the channel
// that it returns; on the second one it cuts the power.
func (s *session) stopOn(ctx context.Context, interrupt <-chan os.Signal) <-chan struct{} {
	stopping := make(chan struct{})
	go func() {
		var once sync.Once
		for {
			select {
			case <-ctx.Done():
				return
			case <-s.vm.Died():
				return
			case <-interrupt:
			}
			first := false
			once.Do(func() { first = true; close(stopping) })
			if !first {
				s.say("power cut")
				s.vm.PowerCut()
				return
			}
			s.say("\nshutting down in order (Ctrl-C again cuts the power)")
			if err := s.vm.CtrlAltDelete(ctx); err != nil {
				s.vm.PowerCut()
			}
		}
	}()
	return stopping
}

// untilReady prints what the node says until it is Ready, then the result.
func (s *session) untilReady(ctx context.Context, p *progress, events <-chan event.Event, stopping <-chan struct{}) error {
	timer := time.NewTimer(quiet)
	last, heard := 0.0, s.started
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return s.endedEarly(ctx)
			}
			last, heard = e.Time, time.Now()
			if s.show(p, e) {
				timer.Reset(quiet)
			}
			if e.Type == event.Ready {
				return s.result(ctx)
			}
		case <-timer.C:
			s.say("%s", p.waiting(last+time.Since(heard).Seconds()))
			timer.Reset(quiet)
		case <-stopping:
			if _, err := s.vm.Wait(ctx); err != nil {
				return err
			}
			return ErrStopped
		}
	}
}

// show prints one event, if there is something to print.
func (s *session) show(p *progress, e event.Event) bool {
	if s.JSON {
		_, _ = s.out.Write(event.Encode(e))
		return true
	}
	line := p.line(e)
	if line != "" {
		s.say("%s", line)
	}
	return line != ""
}

func (s *session) endedEarly(ctx context.Context) error {
	exit, err := s.vm.Wait(ctx)
	if err != nil {
		return err
	}
	if len(s.Append) > 0 && exit.Err == nil && exit.Reason == "guest-shutdown" {
		return errLeft
	}
	return fmt.Errorf("the machine ended before the node was Ready: %s; see %s: %w",
		exit.Reason, filepath.Join(s.Build, "serial.log"), errors.Join(exit.Err, vmtest.ErrExited))
}

// result writes the kubeconfig and shows nodes, pods and what to do next.
func (s *session) result(ctx context.Context) error {
	took := time.Since(s.started)
	if s.Offline {
		s.say("\nThe node is Ready after %.0f s. It has no network device, so its API cannot be reached from here.", took.Seconds())
		return nil
	}
	kubeconfig, err := s.vm.HostKubeconfig(ctx, apiPort)
	if err != nil {
		return err
	}
	path := filepath.Join(s.Build, "kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		return err
	}
	api, err := s.Connect(kubeconfig)
	if err != nil {
		return err
	}
	nodes, err := listNodes(ctx, api)
	if err != nil {
		return err
	}
	pods, err := listPods(ctx, api)
	if err != nil {
		return err
	}
	if s.JSON {
		return json.NewEncoder(s.out).Encode(struct {
			Type       string  `json:"type"`
			Seconds    float64 `json:"seconds"`
			Kubeconfig string  `json:"kubeconfig"`
			Nodes      []Node  `json:"nodes"`
			Pods       []Pod   `json:"pods"`
		}{"result", took.Seconds(), path, nodes, pods})
	}
	s.say("\nThe node is Ready after %.0f s.\n", took.Seconds())
	if err := printTables(s.out, nodes, pods); err != nil {
		return err
	}
	s.say("%s", whatNow(path, s.Disk))
	return nil
}

func whatNow(kubeconfig string, disk bool) string {
	again := "make run"
	if disk {
		again = "make run-disk"
	}
	return fmt.Sprintf(`
use it    kubectl --kubeconfig %s get pods -A
log in    no passwords: operators of a node use SSH with their key (docs/ssh.md);
          a root shell in place of the node, for emergencies:
            %s ARGS='--console --append kubesolo.shell'
stop      Ctrl-C (in order), Ctrl-C twice (power cut)
rebuild   make image, then %s: the data disk is kept`, kubeconfig, again, again)
}
