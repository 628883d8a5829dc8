// Package abslottest is GRUB's half of the slot logic as a model in Go: what the
// script of internal/image/grub does with the two environment blocks, built on
// GRUB 2.06's load_env and save_env.
//
// It owns nothing that ships. The tests of abslot cut its writes; test/small boots
// the real GRUB and compares slot, argument and every byte with it.
package abslottest

import (
	"bytes"
	"regexp"
	"strings"

	"kubesolo.io/os/internal/abslot"
)

// Boot starts a machine with these copies. Each write of GRUB's goes through
// write, which changes the copies as far as the disk takes it; an error of it is
// the end of the power, and of the boot.
func Boot(copies *abslot.Copies, write func(number int, data []byte) error) (slot abslot.Slot, trial bool, err error) {
	chosen, best, found := 0, value{}, false
	for i, b := range copies {
		v, ok := read(b)
		if ok && (!found || v.generation > best.generation || v.generation == best.generation && v.tries < best.tries) {
			chosen, best, found = i, v, true
		}
	}
	if !found {
		return goodOfTorn(copies), false, nil
	}
	good, on := abslot.ParseSlot(best.good), abslot.ParseSlot(best.trial)
	if on == abslot.None || best.tries == "0" {
		return good, false, nil
	}
	left := map[string]string{"3": "2", "2": "1", "1": "0"}[best.tries]
	want := best.with(left)
	for _, i := range []int{1 - chosen, chosen} {
		if data, ok := save(copies[i], want); ok {
			if err := write(i, data); err != nil {
				return abslot.None, false, err
			}
		}
		if v, ok := read(copies[i]); !ok || v != want {
			return good, false, nil
		}
	}
	return on, true, nil
}

// goodOfTorn is the good slot of copies that were cut off while a try was counted:
// the sectors agree in all but the number of tries. Without one it is A.
func goodOfTorn(copies *abslot.Copies) abslot.Slot {
	best, good := "", abslot.A
	for _, b := range copies {
		vars := load(b)
		first, second := half.FindStringSubmatch(vars["state"]), half.FindStringSubmatch(vars["state2"])
		if first != nil && second != nil && first[1] == second[1] && first[1] > best {
			best, good = first[1], abslot.ParseSlot(first[2])
		}
	}
	return good
}

// The patterns of the script.
var (
	half = regexp.MustCompile(`^([0-9]{10}-([AB])-[AB])-[0-3]$`)
	form = regexp.MustCompile(`^([0-9]{10})-([AB])-([ABN])-([0-3]) ([0-9a-f.]{35})$`)
)

// value is what GRUB takes from a copy.
type value struct{ generation, good, trial, tries, sums string }

func (v value) state() string { return v.generation + "-" + v.good + "-" + v.trial + "-" + v.tries }

func (v value) with(tries string) value {
	v.tries = tries
	return v
}

func read(b []byte) (value, bool) {
	vars := load(b)
	m := form.FindStringSubmatch(vars["state"] + " " + vars["sums"])
	if m == nil || vars["state"] != vars["state2"] || vars["sums"] != vars["sums2"] {
		return value{}, false
	}
	return value{m[1], m[2], m[3], m[4], m[5]}, true
}

// load is load_env.
func load(b []byte) map[string]string {
	vars := map[string]string{}
	if !bytes.HasPrefix(b, []byte(abslot.Header)) {
		return vars
	}
	for at := len(abslot.Header); at < len(b); {
		end := lineEnd(b, at)
		if b[at] != '#' {
			// A line without "=" is joined with the next one.
			equals := bytes.IndexByte(b[at:], '=')
			if equals < 0 {
				return vars
			}
			if end = lineEnd(b, at+equals); end >= len(b) {
				return vars
			}
			vars[string(b[at:at+equals])] = strings.ReplaceAll(string(b[at+equals+1:end]), `\`, "")
		}
		at = end + 1
	}
	return vars
}

// save is save_env of the four variables.
func save(b []byte, v value) ([]byte, bool) {
	if !bytes.HasPrefix(b, []byte(abslot.Header)) {
		return nil, false
	}
	b = bytes.Clone(b)
	for _, set := range [][2]string{{"state", v.state()}, {"sums", v.sums}, {"state2", v.state()}, {"sums2", v.sums}} {
		var ok bool
		if b, ok = put(b, set[0]+"=", set[1]); !ok {
			return nil, false
		}
	}
	return b, true
}

// put replaces the value of a line, or adds one where the "#" at the end begin.
func put(b []byte, name, text string) ([]byte, bool) {
	used := bytes.TrimRight(b, "#")
	if !bytes.HasSuffix(used, []byte("\n")) {
		return nil, false
	}
	rest := used[len(used):]
	head, tail := used, rest
	for at := len(abslot.Header); at < len(used); at = lineEnd(b, at) + 1 {
		if bytes.HasPrefix(used[at:], []byte(name)) {
			end := lineEnd(used, at+len(name))
			if end >= len(used) {
				return nil, false
			}
			head, tail = used[:at], used[end+1:]
			break
		}
	}
	out := bytes.Join([][]byte{head, []byte(name), []byte(text), []byte("\n"), tail}, nil)
	if len(out) > len(b) {
		return nil, false
	}
	return append(out, bytes.Repeat([]byte("#"), len(b)-len(out))...), true
}

// lineEnd is the place of the next line feed that no backslash hides.
func lineEnd(b []byte, at int) int {
	for at < len(b) && b[at] != '\n' {
		if b[at] == '\\' {
			at++
		}
		at++
	}
	return at
}
