package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"kubesolo.io/os/internal/atomicfile"
)

// StateFile is where the state is kept, on the data partition.
const StateFile = "/var/lib/update/state.json"

// maxState is far above what the bounds of the lists allow.
const maxState = 1 << 20

// Load reads the state. A missing file is a node that was never updated. One
// that cannot be read gives a state to go on with and an error to be told: what
// it knew is lost, and no reason to be without updates.
func Load(path string) (State, error) {
	fresh := State{Phase: Idle}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return fresh, fmt.Errorf("state of updates: %w", err)
	}
	if len(text) > maxState {
		return fresh, fmt.Errorf("state of updates: %s has %d bytes: begun anew", path, len(text))
	}
	var s State
	if err := json.Unmarshal(text, &s); err != nil {
		return fresh, fmt.Errorf("state of updates: %s: %w: begun anew", path, err)
	}
	for _, p := range Phases() {
		if s.Phase == p {
			return s, nil
		}
	}
	return fresh, fmt.Errorf("state of updates: %s: no phase %q: begun anew", path, s.Phase)
}

// Save writes the state so that a power cut leaves the old or the new one.
func Save(path string, s State) error {
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("state of updates: %w", err)
	}
	if err := atomicfile.Write(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("state of updates: %w", err)
	}
	return nil
}
