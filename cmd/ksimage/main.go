// Command ksimage builds, checks and runs KubeSolo OS images on a build host. It never
// runs on a node. The work is in internal/image and internal/vmrun.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `ksimage makes bootable KubeSolo OS images.

  ksimage build [options]     build vmlinuz, kubesolo-os.gz, the ISO and the disk image
  ksimage keys init|rotate|show
                              make and change the keys that updates are signed with
  ksimage update [options]    publish the slot image in a signed repository
  ksimage push REFERENCE       put that repository into a container registry
  ksimage run [options]       boot an image in QEMU until the node is Ready
  ksimage audit [options]     name the options that a kernel configuration lacks
  ksimage sizes [options]     show what each part of the last build costs
  ksimage help                this text; every command has --help

Examples:
  ksimage build
  ksimage build --kubesolo v1.2.0 --kubesolo-sha256 0123...
  ksimage build --base tinycore --core-gz corepure64.gz
  ksimage audit --config /boot/config-6.1.0-56-amd64
`

// errUsage means that the user was already told what is wrong.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "ksimage:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errUsage
	}
	switch args[0] {
	case "build":
		return build(ctx, args[1:])
	case "keys":
		return keys(args[1:], os.Stdout)
	case "update":
		return update(ctx, args[1:], os.Stdout)
	case "push":
		return push(ctx, args[1:], os.Stdout)
	case "run":
		return runVerb(ctx, args[1:], os.Stdout, os.Stderr)
	case "audit":
		return audit(args[1:])
	case "sizes":
		return sizes(args[1:])
	case "help", "-h", "--help":
		fmt.Print(usage)
		return nil
	}
	fmt.Fprintf(os.Stderr, "ksimage: unknown command %q\n\n%s", args[0], usage)
	return errUsage
}

// flags returns a flag set whose help starts with text.
func flags(name, text string) *flag.FlagSet {
	fs := flag.NewFlagSet("ksimage "+name, flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), text+"\n\nOptions:\n")
		fs.PrintDefaults()
	}
	return fs
}

// parse parses args and refuses what is left over.
func parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage // the flag package has told
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q\n", fs.Name(), fs.Arg(0))
		return errUsage
	}
	return nil
}
