package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/kubeapi"
	"kubesolo.io/os/internal/vmrun"
)

const runUsage = `usage: ksimage run [flags]

Boots a built image in a virtual machine, shows what the node does until it is
Ready, writes build/kubeconfig and stays until Ctrl-C, which shuts the node
down in order.

  ksimage run                                  the ISO, with the data disk build/data.img
  ksimage run --disk --uefi                    the disk image, under UEFI
  ksimage run --append kubesolo.nopersist      other kernel arguments
  ksimage run --console --append kubesolo.shell
                                               an emergency shell on this terminal
  ksimage run --exit-when-ready -o json        for a CI job

flags:
`

// words collects a flag that may be given several times, or once with spaces.
type words []string

func (w *words) String() string { return strings.Join(*w, " ") }

func (w *words) Set(s string) error {
	*w = append(*w, strings.Fields(s)...)
	return nil
}

// runVerb is `ksimage run`.
func runVerb(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o vmrun.Options
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, runUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.Build, "build", "build", "`directory` with the image")
	flags.BoolVar(&o.Disk, "disk", false, "boot the disk image, not the ISO")
	flags.BoolVar(&o.Snapshot, "snapshot", false, "throw away what is written to the disk")
	flags.BoolVar(&o.UEFI, "uefi", false, "boot by UEFI (OVMF), not BIOS")
	flags.IntVar(&o.Memory, "memory", 2048, "memory in `MiB`")
	flags.IntVar(&o.CPUs, "cpus", 2, "number of CPUs")
	flags.Var((*words)(&o.Append), "append", "kernel `arguments`; boots vmlinuz and kubesolo-os.gz directly, with the data of the disk")
	flags.BoolVar(&o.Offline, "no-network", false, "a machine without a network device")
	flags.BoolVar(&o.Console, "console", false, "the serial console on this terminal, both ways")
	flags.BoolVar(&o.ExitWhenReady, "exit-when-ready", false, "shut down in order once the node is Ready")
	detach := flags.Bool("detach", false, "leave the machine running in the background once Ready")
	output := flags.String("o", "text", "output `format`: text or json (one object a line)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("run: unexpected argument %q: see ksimage run --help", flags.Arg(0))
	}
	switch *output {
	case "text", "json":
		o.JSON = *output == "json"
	default:
		return fmt.Errorf("run: -o %s: want text or json", *output)
	}
	if *detach && (o.Console || o.ExitWhenReady) {
		return errors.New("run: --detach goes neither with --console nor with --exit-when-ready")
	}
	// Before --detach, whose output goes to a file; and not to stdout, which may be JSON.
	say := func(format string, a ...any) { fmt.Fprintf(stderr, format+"\n", a...) }
	if err := tool.New(nil, time.Now()).Need(ctx, say, o.Needs()...); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if *detach {
		rest := slices.DeleteFunc(slices.Clone(args), func(a string) bool {
			return strings.TrimLeft(a, "-") == "detach" || strings.HasPrefix(strings.TrimLeft(a, "-"), "detach=")
		})
		return vmrun.Detach(o.Build, append([]string{"run"}, rest...), stdout)
	}
	o.Ready = vmrun.TellParent
	o.Connect = func(kubeconfig []byte) (vmrun.API, error) {
		client, err := kubeapi.Load(kubeconfig)
		if err != nil {
			return nil, err
		}
		return client, nil
	}
	interrupt := make(chan os.Signal, 2)
	signal.Notify(interrupt, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(interrupt)
	// Ctrl-C ends ctx. Here it means an orderly shutdown, which takes a while.
	return vmrun.Run(context.WithoutCancel(ctx), o, os.Stdin, stdout, interrupt)
}
