// Package cmdline reads the kernel command line for the arguments that are
// ours, those that start with "kubesolo.".
//
// It owns their names, their defaults and the advice for a misspelt one. It
// never fails: an argument it cannot use is a Warning, because a typing error
// in a boot loader must not cost the boot. It is pure, and fuzzed.
package cmdline

import (
	"fmt"
	"strings"
)

// Args are the kernel arguments of KubeSolo OS. An argument given twice keeps
// its last value, as the kernel's own do.
type Args struct {
	// Data says where the data partition is: "auto" (the default), a path
	// under /dev, or LABEL=, UUID=, PARTLABEL=, PARTUUID= with a value.
	Data string
	// NoPersist keeps everything in memory and touches no disk.
	NoPersist bool
	// Debug puts the whole log on the console.
	Debug bool
	// Shell asks for a shell on the console instead of the node.
	Shell bool
	// ShellOnFailure offers a shell when a fatal boot step fails.
	// Without it such a node restarts, so that nobody at an unattended
	// machine gets a root shell by breaking its boot.
	ShellOnFailure bool
	// Slot is "A" or "B" as set by the boot loader, or empty.
	Slot string
	// Trial is set by the boot loader when it starts the slot that an update put
	// on trial. In any other boot the slot is not to be judged.
	Trial bool
	// CloudInit is the file or URL of the configuration, or empty.
	CloudInit string
	// Hostname overrules the configured host name; empty if not given.
	Hostname string
	// IP is the kernel's own ip= syntax or "dhcp"; empty if not given.
	IP string
	// Install names the disk to install this medium to; empty if not given.
	Install string
	// Raw is the whole line as given, without its end of line.
	Raw string
}

// Warning says what is wrong with one argument and what happens instead.
type Warning struct {
	Arg     string // as found on the line
	Message string
}

func (w Warning) String() string { return w.Arg + ": " + w.Message }

const prefix = "kubesolo."

// known are the names after the prefix, in the order of the documentation.
func known() []string {
	return []string{"data", "nopersist", "debug", "shell", "slot", "trial", "cloudinit", "hostname", "ip", "install"}
}

// Parse reads one kernel command line. Words are separated by blanks, double
// quotes keep blanks together (as in the kernel's next_arg), and what follows
// a word "--" belongs to init and is not looked at.
func Parse(line string) (Args, []Warning) {
	args := Args{Data: "auto", Raw: strings.TrimRight(line, "\r\n\x00")}
	var warnings []Warning
	for _, word := range words(args.Raw) {
		if word == "--" {
			break
		}
		if !strings.HasPrefix(word, prefix) {
			continue
		}
		name, value, hasValue := strings.Cut(word[len(prefix):], "=")
		if msg := args.set(name, value, hasValue); msg != "" {
			warnings = append(warnings, Warning{Arg: prefix + name, Message: msg})
		}
	}
	return args, warnings
}

// set applies one argument and returns the warning about it, if any.
func (a *Args) set(name, value string, hasValue bool) string {
	switch name {
	case "nopersist":
		return setBool(&a.NoPersist, value, hasValue)
	case "debug":
		return setBool(&a.Debug, value, hasValue)
	case "trial":
		return setBool(&a.Trial, value, hasValue)
	case "shell":
		if value == "on-failure" {
			a.ShellOnFailure = true
			return ""
		}
		return setBool(&a.Shell, value, hasValue)
	}
	target := a.text(name)
	switch {
	case target == nil:
		return unknown(name)
	case value == "":
		return "has no value, ignored"
	}
	if msg := check(name, value); msg != "" {
		return msg
	}
	*target = value
	return ""
}

func (a *Args) text(name string) *string {
	switch name {
	case "data":
		return &a.Data
	case "slot":
		return &a.Slot
	case "cloudinit":
		return &a.CloudInit
	case "hostname":
		return &a.Hostname
	case "ip":
		return &a.IP
	case "install":
		return &a.Install
	}
	return nil
}

func setBool(b *bool, value string, hasValue bool) string {
	switch strings.ToLower(value) {
	case "1", "true", "yes", "on":
		*b = true
	case "0", "false", "no", "off":
		*b = false
	case "":
		*b = !hasValue
		if hasValue {
			return "has an empty value, taken as off"
		}
	default:
		return fmt.Sprintf("value %q is neither 1 nor 0, ignored", value)
	}
	return ""
}

func check(name, value string) string {
	switch name {
	case "slot":
		if value != "A" && value != "B" {
			return fmt.Sprintf("value %q is neither A nor B, ignored", value)
		}
	case "data":
		return checkData(value)
	case "hostname":
		if !isHostname(value) {
			return fmt.Sprintf("value %q is not a host name (lower case letters, digits, '-' and '.'; RFC 1123), ignored", value)
		}
	case "install":
		if !strings.HasPrefix(value, "/dev/") {
			return fmt.Sprintf("value %q is not a path under /dev, ignored", value)
		}
	}
	return ""
}

func checkData(value string) string {
	if value == "auto" || strings.HasPrefix(value, "/dev/") {
		return ""
	}
	tag, rest, ok := strings.Cut(value, "=")
	switch tag {
	case "LABEL", "UUID", "PARTLABEL", "PARTUUID":
		if ok && rest != "" {
			return ""
		}
	}
	return fmt.Sprintf("value %q is not auto, /dev/..., LABEL=, UUID=, PARTLABEL= or PARTUUID=; auto is used", value)
}

// isHostname follows RFC 1123 in the lower-case form Kubernetes wants of a
// node name: labels of 1 to 63, 253 bytes in all (the kernel keeps 64).
func isHostname(s string) bool {
	if len(s) > 64 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}

// words splits a line as the kernel does (lib/cmdline.c, next_arg): quotes
// may stand anywhere in a word and are not part of it.
func words(line string) []string {
	var out []string
	var word []byte
	inWord, quoted := false, false
	for _, c := range []byte(line) {
		switch {
		case c == '"':
			quoted = !quoted
			inWord = true
		case !quoted && (c == ' ' || c == '\t' || c == '\n'):
			if inWord {
				out = append(out, string(word))
			}
			word, inWord = word[:0], false
		default:
			word = append(word, c)
			inWord = true
		}
	}
	if inWord {
		out = append(out, string(word))
	}
	return out
}

func unknown(name string) string {
	best, distance := "", 0
	for _, k := range known() {
		if d := editDistance(name, k); best == "" || d < distance {
			best, distance = k, d
		}
	}
	// More than half of the letters wrong is not a typing error.
	if 2*distance > len(best) {
		return "is not known, ignored; known are " + prefix + strings.Join(known(), ", "+prefix)
	}
	return "is not known, ignored; did you mean " + prefix + best + "?"
}

// editDistance is Levenshtein's, in bytes. Names over 64 bytes are cut:
// they are far from every known one anyway.
func editDistance(a, b string) int {
	if len(a) > 64 {
		a = a[:64]
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
