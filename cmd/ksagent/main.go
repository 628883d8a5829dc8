// Command ksagent looks after a running node: it puts the container images of
// the system into containerd, watches the node's health and tells of it, keeps
// the clock right, brings updates, hands the admin kubeconfig to the hypervisor,
// and lets operators in by SSH.
//
// It owns the wiring of the packages that do this, and its command line. It is
// started by ksinit as a service, and again at shutdown to stop the pods. It
// never touches mounts, links or other services, and serves no network port but
// that of SSH, which is there only when the configuration has keys, and metrics on
// the loopback. Its packages are tested on their own; the program by boots of a
// whole node.
//
// By the name of ksctl it is that, for the operator on the node: the two share
// most of what they are made of, and a file of its own would be ten times what
// this adds to the image.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/ctl"
	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/health"
	"kubesolo.io/os/internal/pods"
	"kubesolo.io/os/internal/preload"
)

const usage = `ksagent looks after a running KubeSolo OS node.

Usage: ksagent COMMAND [FLAGS]

Commands:
  run         preload images, watch health, keep time, bring updates, publish the kubeconfig, serve SSH (the service)
  preload     import the system's container images once, and say what was done
  health      print what works and what does not; exit status 1 if not ready
  audit       compare the node's hardening with what it promises; exit status 1 if a check failed
  stop-pods   stop all containers, then all pod sandboxes
  help        this text

Examples:
  ksagent health -o table
  ksagent health -o json
  ksagent audit
  ksagent stop-pods --timeout 20s
  ksagent preload --images /usr/share/kubesolo/images

ksagent COMMAND --help lists the flags of a command.
`

// errUsage ends the program with status 2, after what was wrong has been said.
var errUsage = errors.New("usage")

func main() {
	if filepath.Base(os.Args[0]) == "ksctl" {
		program := ctl.Program{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, RunDir: config.EffectiveDir}
		os.Exit(program.Run(os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "ksagent:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return errUsage
	}
	a := agent{stdout: stdout, log: slog.New(slog.NewTextHandler(stderr, nil))}
	flags := flag.NewFlagSet("ksagent "+args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&a.socket, "containerd", "/run/containerd/containerd.sock", "containerd's socket")
	switch args[0] {
	case "run":
		a.healthFlags(flags)
		a.imageFlags(flags)
		flags.StringVar(&a.events, "events", event.Socket, "socket that takes events")
		return a.parsed(ctx, flags, args[1:], a.run)
	case "preload":
		a.imageFlags(flags)
		return a.parsed(ctx, flags, args[1:], a.preload)
	case "health":
		a.healthFlags(flags)
		flags.StringVar(&a.output, "o", "table", "output: table or json")
		return a.parsed(ctx, flags, args[1:], a.health)
	case "audit":
		flags.StringVar(&a.output, "o", "table", "output: table, json or snapshot (what was looked at)")
		return a.parsed(ctx, flags, args[1:], a.audit)
	case "stop-pods":
		flags.DurationVar(&a.timeout, "timeout", 20*time.Second, "how long containers may take to end after SIGTERM; one that does not hear it has 5 s")
		return a.parsed(ctx, flags, args[1:], a.stopPods)
	case "help", "--help", "-help", "-h":
		fmt.Fprint(stdout, usage)
		return nil
	}
	fmt.Fprintf(stderr, "ksagent: unknown command %q\n\n%s", args[0], usage)
	return errUsage
}

// agent holds the values of the flags; each command uses some.
type agent struct {
	stdout io.Writer
	log    *slog.Logger

	socket, events     string
	images             string
	kubeconfig, data   string
	output             string
	timeout            time.Duration
	virtioSysfs, devfs string
}

func (a *agent) healthFlags(flags *flag.FlagSet) {
	flags.StringVar(&a.kubeconfig, "kubeconfig", "/var/lib/kubesolo/pki/admin/admin.kubeconfig", "admin kubeconfig")
	flags.StringVar(&a.data, "data", "/var/lib/kubesolo", "directory on the data partition")
	a.virtioSysfs, a.devfs = "/sys", "/dev"
}

func (a *agent) imageFlags(flags *flag.FlagSet) {
	flags.StringVar(&a.images, "images", "/usr/share/kubesolo/images", "directory of images.json and the archives")
}

func (a *agent) parsed(ctx context.Context, flags *flag.FlagSet, args []string, run func(context.Context) error) error {
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage // the flag package has said what
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(flags.Output(), "%s: unexpected argument %q\n", flags.Name(), flags.Arg(0))
		return errUsage
	}
	return run(ctx)
}

// connect gives a client; it does not wait for containerd to be there.
func (a *agent) connect() (*containerd.Client, error) {
	client, err := containerd.New(a.socket, containerd.WithDefaultNamespace(preload.Namespace))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", a.socket, err)
	}
	return client, nil
}

func (a *agent) preload(ctx context.Context) error {
	client, err := a.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	result, err := preload.Once(ctx, preload.Options{Client: client, Dir: a.images})
	for _, ref := range result.Present {
		fmt.Fprintln(a.stdout, "present ", ref)
	}
	for _, ref := range result.Imported {
		fmt.Fprintln(a.stdout, "imported", ref)
	}
	for _, ref := range result.Unpinned {
		fmt.Fprintln(a.stdout, "unpinned", ref)
	}
	return err
}

// leaseWait is longer than the kubelet takes to renew its lease (10 s): a
// single look cannot see that a lease moves, where the clock proves nothing.
const leaseWait = 12 * time.Second

func (a *agent) health(ctx context.Context) error {
	if a.output != "table" && a.output != "json" {
		return fmt.Errorf("output %q: want table or json", a.output)
	}
	client, err := a.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	observer := a.observer(client)
	var report health.Report
	for deadline := time.Now().Add(leaseWait); ; {
		o := observer.Observe(ctx)
		a.lookForImages(ctx, client, &o)
		report = health.Judge(o, nil)
		// Only a lease that may be stale is worth a second look.
		if report.Ready() || len(o.Nodes) == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	if err := a.print(report); err != nil {
		return err
	}
	if !report.Ready() {
		return errors.New("the node is not ready")
	}
	return nil
}

func (a *agent) print(report health.Report) error {
	if a.output == "json" {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			Ready  bool          `json:"ready"`
			Checks health.Report `json:"checks"`
		}{report.Ready(), report})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHECK\tSTATE\tMESSAGE")
	for _, c := range report {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, c.State, c.Message)
	}
	return w.Flush()
}

func (a *agent) stopPods(ctx context.Context) error {
	client, err := a.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	count, err := pods.Runtime{Client: client}.Stop(ctx, a.timeout)
	fmt.Fprintf(a.stdout, "stopped %d containers (%d killed) and %d sandboxes\n", count.Containers, count.Killed, count.Sandboxes)
	return err
}
