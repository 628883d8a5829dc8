// Package ctl holds the verbs of ksctl.
//
// It owns their arguments, what they print, and the exit status: 0 when it is
// as it should be, 1 when something is wrong with what was looked at, 2 when it
// could not be looked at. It prints no secret, and knows nothing of how a node
// works: parsing and merging are those of the node itself (internal/cloudinit,
// internal/config), how the node is it asks ksinit, and how an update is ksagent
// (internal/control). Log files it reads itself: PID 1 has better things to do.
//
// Tests: each verb with real files and a real socket, golden output, and the
// commands of docs/configuration.md, whose output in the document is what was
// printed; the verbs of a node also with the real ksinit, in its own tests.
package ctl

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Exit statuses.
const (
	exitGood    = 0
	exitWrong   = 1
	exitUnknown = 2
)

// Program is one run of ksctl.
type Program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// RunDir is where a node keeps what is in force, and its control socket:
	// config.EffectiveDir.
	RunDir string
	// Root is where the node's files are found: "" on a node.
	Root string
}

// verb is a command, or a command of a command.
type verb struct {
	name, arguments, summary string
	run                      func(args []string) int
}

// Run runs the command line, without the program's name, and gives the exit
// status.
func (p Program) Run(args []string) int {
	return p.choose("ksctl", "ksctl looks at a KubeSolo OS node. All but config is for root, on the node itself.", args, []verb{
		{"status", "", "say how the node is, in a few lines", p.status},
		{"services", "", "list the services of the node", p.services},
		{"logs", "[SERVICE]", "print or follow the log of a service, or of the node", p.logs},
		{"timeline", "", "show what took how long at boot", p.timeline},
		{"network", "[COMMAND]", "show the network, or try another configuration of it", p.network},
		{"events", "", "print or follow what happens on the node", p.events},
		{"audit", "", "compare the node's hardening with what it promises", p.audit},
		{"update", "COMMAND", "install another version of the system, or go back to the one before", p.update},
		{"restart", "SERVICE", "end a service and have it started again", p.restart},
		{"reboot", "", "restart the machine in an orderly way", p.reboot},
		{"shutdown", "", "switch the machine off in an orderly way", p.shutdown},
		{"support", "FILE", "collect all that helps to find a fault, without secrets", p.support},
		{"config", "COMMAND", "check configuration, and show what is in force and why", p.config},
	})
}

// choose runs the verb that the first argument names.
func (p Program) choose(name, about string, args []string, verbs []verb) int {
	out, status := p.Stderr, exitUnknown
	if len(args) > 0 {
		for _, v := range verbs {
			if v.name == args[0] {
				return v.run(args[1:])
			}
		}
		switch args[0] {
		case "help", "-h", "-help", "--help":
			out, status = p.Stdout, exitGood
		default:
			fmt.Fprintf(p.Stderr, "%s: unknown command %q\n\n", name, args[0])
		}
	}
	fmt.Fprintf(out, "%s\n\nUsage: %s COMMAND\n\n", about, name)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, v := range verbs {
		fmt.Fprintf(w, "  %s\t%s\n", strings.TrimSpace(v.name+" "+v.arguments), v.summary)
	}
	_ = w.Flush()
	fmt.Fprintf(out, "\n%s COMMAND --help says more.\n", name)
	return status
}

// flags makes the flag set of a verb, whose help begins with text.
func (p Program) flags(name, arguments, text string) *flag.FlagSet {
	fs := flag.NewFlagSet("ksctl "+name, flag.ContinueOnError)
	fs.SetOutput(p.Stderr)
	fs.Usage = func() {
		fmt.Fprintf(fs.Output(), "%s\n\nUsage: ksctl %s\n\n", text, strings.TrimSpace(name+" [options] "+arguments))
		fs.PrintDefaults()
	}
	return fs
}

// parse reads options before, between and after the arguments, which it
// returns. When it is not to go on, ok is false and status the exit status.
func (p Program) parse(fs *flag.FlagSet, args []string) (rest []string, status int, ok bool) {
	if slices.ContainsFunc(args, func(a string) bool { return a == "-h" || a == "-help" || a == "--help" }) {
		fs.SetOutput(p.Stdout) // asked for, so no complaint
	}
	for {
		err := fs.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			return nil, exitGood, false
		}
		if err != nil {
			return nil, exitUnknown, false // the flag package has said what
		}
		if fs.NArg() == 0 {
			return rest, exitGood, true
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

// output adds the option -o, and gives a function that says whether JSON is
// wanted.
func (p Program) output(fs *flag.FlagSet, text string) func() (asJSON bool, err error) {
	form := fs.String("o", text, "output: "+text+" or json")
	return func() (bool, error) {
		if *form != text && *form != "json" {
			return false, fmt.Errorf("-o %s: it is %s or json", *form, text)
		}
		return *form == "json", nil
	}
}

// unknown says why nothing could be looked at.
func (p Program) unknown(err error) int {
	fmt.Fprintln(p.Stderr, "ksctl:", err)
	return exitUnknown
}
