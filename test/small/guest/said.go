package guest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What updateinit says on the console, each as JSON in a line of its own. The
// fields are words for a table and for messages.

// Started is the first of it: which slot GRUB started, and which version that
// slot's partition has all of ("" for none that is known).
type Started struct {
	Slot    string `json:"slot"`
	Trial   bool   `json:"trial"`
	Version string `json:"version"` // of the initramfs
	Holds   string `json:"holds"`
}

// Found is what the slot state and the state of updates said.
type Found struct {
	State    string `json:"state"`
	Outcome  string `json:"outcome"`
	Mended   bool   `json:"mended"`
	BothLost bool   `json:"bothLost"` // both copies were invalid
	Phase    string `json:"phase"`
}

// Ended is the last of it. When not Settled, something is left to do that takes
// another boot, for which the machine is restarted (Restart), or that a look leaves
// alone. The slot state is as the disk has it.
type Ended struct {
	Settled    bool     `json:"settled"`
	Restart    bool     `json:"restart"`
	Phase      string   `json:"phase"`
	Good       string   `json:"good"`
	Trial      string   `json:"trial"`
	Tries      int      `json:"tries"`
	Generation uint64   `json:"generation"`
	Refused    []string `json:"refused,omitempty"`
	Database   string   `json:"database"` // the version that wrote it
	Message    string   `json:"message"`
}

const saidPrefix = "update: "

// Say writes a line; v is one of the types above, or an error.
func Say(v any) {
	if err, ok := v.(error); ok {
		fmt.Printf("%serror %v\n", saidPrefix, err)
		return
	}
	text, err := json.Marshal(v)
	fmt.Printf("%s%T %s %v\n", saidPrefix, v, text, err)
}

// Said reads such a line of type T. It is false for any other line.
func Said[T Started | Found | Ended](line string) (v T, ok bool) {
	_, text, found := strings.Cut(line, fmt.Sprintf("%s%T ", saidPrefix, v))
	if !found {
		return v, false
	}
	return v, json.NewDecoder(strings.NewReader(text)).Decode(&v) == nil
}

// SaidError reads what Say writes of an error.
func SaidError(line string) (text string, ok bool) {
	_, text, ok = strings.Cut(line, saidPrefix+"error ")
	return text, ok
}
