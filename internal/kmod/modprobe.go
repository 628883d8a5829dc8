package kmod

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Modprobe is the program modprobe(8): args are its arguments without its name.
// It loads NAME [PARAM=VALUE...], or with -a all names. -n only looks, -v says
// what it loads, -q is quiet about unknown names; -b applies the blacklist of
// the kernel command line to names too; -r is refused, because nothing
// on this system unloads modules. It returns the exit status: 0 also when the
// module is built in or loaded, 1 on any failure.
func Modprobe(args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args)
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\n", err)
		return 1
	}
	if o.release == "" {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			fmt.Fprintf(stderr, "modprobe: uname: %v\n", err)
			return 1
		}
		o.release = unix.ByteSliceToString(u.Release[:])
	}
	t, err := Open(o.root, o.release)
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\n", err)
		return 1
	}
	if line, err := os.ReadFile("/proc/cmdline"); err == nil {
		t.UseKernelArgs(string(line))
	}
	return t.modprobe(o, stdout, stderr)
}

type options struct {
	root, release               string
	quiet, dryRun, verbose, all bool
	useBlacklist, showDepends   bool
	names                       []string
	params                      string
}

func (t *Tree) modprobe(o options, stdout, stderr io.Writer) int {
	status := 0
	for _, name := range o.names {
		if o.useBlacklist && t.blacklist[canonical(name)] {
			continue
		}
		err := t.modprobeOne(name, o, stdout)
		if err == nil {
			continue
		}
		status = 1
		if !o.quiet || !errors.Is(err, ErrNotFound) {
			fmt.Fprintf(stderr, "modprobe: %v\n", err)
		}
	}
	return status
}

func (t *Tree) modprobeOne(name string, o options, stdout io.Writer) error {
	if o.dryRun || o.verbose || o.showDepends {
		files, err := t.Plan(name)
		if err != nil {
			return err
		}
		for i, f := range files {
			if !o.verbose && !o.showDepends {
				break
			}
			params := strings.Join(t.params[moduleName(f)], " ")
			if i == len(files)-1 && o.params != "" {
				params = strings.TrimSpace(params + " " + o.params)
			}
			fmt.Fprintln(stdout, strings.TrimSpace("insmod "+f+" "+params))
		}
		if o.dryRun || o.showDepends {
			return nil
		}
	}
	return t.Load(name, o.params)
}

func parseOptions(args []string) (options, error) {
	o := options{root: "/"}
	var words []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			words = append(words, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			words = append(words, a)
			continue
		}
		long, value, hasValue := strings.Cut(a, "=")
		if strings.HasPrefix(a, "--") {
			takes, err := o.set(long)
			if err != nil {
				return o, err
			}
			if takes && !hasValue {
				if i++; i == len(args) {
					return o, fmt.Errorf("option %s needs a value", long)
				}
				value = args[i]
			}
			o.setValue(long, value)
			continue
		}
		for j := 1; j < len(a); j++ {
			short := "-" + a[j:j+1]
			takes, err := o.set(short)
			if err != nil {
				return o, err
			}
			if !takes {
				continue
			}
			value := a[j+1:]
			if value == "" {
				if i++; i == len(args) {
					return o, fmt.Errorf("option %s needs a value", short)
				}
				value = args[i]
			}
			o.setValue(short, value)
			break
		}
	}
	if len(words) == 0 {
		return o, errors.New("no module named; usage: modprobe [-a] [-n] [-q] [-v] MODULE [PARAM=VALUE...]")
	}
	if o.all {
		o.names = words
		return o, nil
	}
	o.names = words[:1]
	// A second name without "=" is another module for us: "modprobe a b" loads
	// only a elsewhere and passes b as a parameter, which no module knows.
	for i, w := range words[1:] {
		if strings.Contains(w, "=") {
			o.params = strings.Join(words[1+i:], " ")
			break
		}
		o.names = append(o.names, w)
	}
	return o, nil
}

// set notes a flag and tells whether the option takes a value.
func (o *options) set(flag string) (takesValue bool, err error) {
	switch flag {
	case "-q", "--quiet":
		o.quiet = true
	case "-n", "--dry-run", "--show":
		o.dryRun = true
	case "-v", "--verbose":
		o.verbose = true
	case "-a", "--all":
		o.all = true
	case "-b", "--use-blacklist":
		o.useBlacklist = true
	case "-D", "--show-depends":
		o.showDepends = true
	case "-i", "--ignore-install", "-s", "--syslog", "--first-time":
	case "-d", "--dirname", "-S", "--set-version", "-C", "--config":
		return true, nil
	case "-r", "--remove", "-f", "--force", "--force-vermagic", "--force-modversion":
		return false, fmt.Errorf("option %s: modules are never unloaded or forced on this system", flag)
	default:
		return false, fmt.Errorf("unknown option %s", flag)
	}
	return false, nil
}

func (o *options) setValue(flag, value string) {
	switch flag {
	case "-d", "--dirname":
		o.root = filepath.Clean(value)
	case "-S", "--set-version":
		o.release = value
	}
}
