package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	containerd "github.com/containerd/containerd/v2/client"

	"kubesolo.io/os/internal/atomicfile"
	"kubesolo.io/os/internal/clocksync"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/health"
	"kubesolo.io/os/internal/kubeapi"
	"kubesolo.io/os/internal/pods"
	"kubesolo.io/os/internal/preload"
)

// readyMark says that this boot has had its ready event; /run is new with each.
const readyMark = "/run/ksagent.ready"

// run is the service: until ctx ends.
func (a *agent) run(ctx context.Context) error {
	// A few hundred live objects between ticks of many seconds: a small heap is
	// worth more here than fewer collections.
	debug.SetGCPercent(30)
	client, err := a.connect()
	if err != nil {
		return err
	}
	defer client.Close()

	var wg sync.WaitGroup
	defer wg.Wait()
	images := imageState{wake: make(chan struct{}, 1)}
	wg.Go(func() {
		// The error has been reported after each pass.
		_ = preload.Run(ctx, preload.Options{Client: client, Dir: a.images}, a.log, func(r preload.Result, err error) {
			a.log.Info("container images", "imported", len(r.Imported), "present", len(r.Present), "unpinned", len(r.Unpinned))
			images.set(err)
			debug.FreeOSMemory() // what the import needed is not needed again
		})
	})
	port := newPublisher(a.log, a.virtioSysfs, a.devfs)
	wg.Go(func() { port.run(ctx) })
	wg.Go(func() { a.keepTime(ctx) })
	wg.Go(func() { a.serveSSH(ctx) })
	updates, err := a.newUpdater(pods.Runtime{Client: client})
	if err != nil {
		return fmt.Errorf("updates: %w", err)
	}
	wg.Go(func() { updates.run(ctx) })

	_, err = os.Stat(readyMark)
	observer := a.observer(client)
	monitor := health.Monitor{
		Observe: func(ctx context.Context) health.Observation {
			o := observer.Observe(ctx)
			images.fill(&o)
			return o
		},
		Sink:         eventSink{a},
		Version:      version("/etc/os-release"),
		AlreadyReady: err == nil,
		Wake:         images.wake,
		Changed: func(r health.Report) {
			updates.saw(r)
			eventSink{a}.send(event.Event{Type: event.Alive, Name: "ksagent"})
			if r.Get(health.API).State == health.OK {
				port.offer(a.kubeconfig)
			}
		},
	}
	monitor.Run(ctx)
	return nil
}

// keepTime keeps the clock right. An image that does not say when it was built
// has no floor, which is no reason to be without time.
func (a *agent) keepTime(ctx context.Context) {
	floor, err := clocksync.ReadFloor(clocksync.FloorFile)
	if err != nil {
		a.log.Warn("any time is believed", "err", err)
	}
	clocksync.Run(ctx, clocksync.Options{
		ConfigFile: clocksync.ConfigFile, LeaseFile: clocksync.LeaseFile, Floor: floor,
		Clock: clocksync.Kernel{RTC: "/dev/rtc0"}, Sink: eventSink{a}, Log: a.log,
	})
}

func (a *agent) observer(client *containerd.Client) *health.Observer {
	source := kubeconfigSource{path: a.kubeconfig}
	api := func() (health.Getter, error) { return source.client() }
	return &health.Observer{API: api, Runtime: pods.Runtime{Client: client}, DataDir: a.data}
}

// lookForImages fills in what the preload of another process has done: CRI's
// sandbox image stands for all.
func (a *agent) lookForImages(ctx context.Context, client *containerd.Client, o *health.Observation) {
	list, err := client.ImageService().List(ctx, `labels."kubesolo.io/preloaded"==true`)
	switch {
	case err != nil:
		o.ImagesPending = fmt.Sprintf("containerd at %s: %v", a.socket, err)
	case len(list) > 0:
		o.ImagesDone = true
	}
}

// imageState passes the outcome of a preload pass to the monitor.
type imageState struct {
	mu      sync.Mutex
	done    bool
	pending string
	wake    chan struct{}
}

func (s *imageState) set(err error) {
	s.mu.Lock()
	s.done, s.pending = true, ""
	if err != nil {
		s.pending = err.Error()
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *imageState) fill(o *health.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.ImagesDone, o.ImagesPending = s.done, s.pending
}

// eventSink sends each event to ksinit and logs it. The socket is dialled anew
// for each: events are rare, and ksinit may have been re-executed.
type eventSink struct{ a *agent }

func (s eventSink) Emit(e event.Event) {
	s.a.log.Info(e.Type, "name", e.Name, "state", e.State, "message", e.Message)
	if e.Type == event.Ready {
		if err := atomicfile.Write(readyMark, nil, 0o600); err != nil {
			s.a.log.Warn("the ready event may be told again", "err", err)
		}
	}
	s.send(e)
}

func (s eventSink) send(e event.Event) {
	client, err := event.Dial(s.a.events)
	if err != nil {
		s.a.log.Warn("event not sent", "err", err)
		return
	}
	client.Emit(e)
	_ = client.Close() // a datagram that was sent is sent
}

// kubeconfigSource makes a client from a kubeconfig, and a new one when the
// file changes. It belongs to one goroutine.
type kubeconfigSource struct {
	path   string
	loaded []byte
	api    *kubeapi.Client
}

func (s *kubeconfigSource) client() (*kubeapi.Client, error) {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("kubesolo has not written its kubeconfig yet")
	} else if err != nil {
		return nil, err
	}
	if s.api != nil && bytes.Equal(data, s.loaded) {
		return s.api, nil
	}
	api, err := kubeapi.Load(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	if s.api != nil {
		s.api.Close()
	}
	s.loaded, s.api = data, api
	return api, nil
}

// version is VERSION_ID of an os-release file, "" if it has none.
func version(osRelease string) string {
	data, err := os.ReadFile(osRelease)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_ID="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}
