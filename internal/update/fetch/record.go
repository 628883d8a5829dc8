package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"kubesolo.io/os/internal/atomicfile"
)

// record is what is known of a download that has not ended.
type record struct {
	Target string `json:"target"` // file name, with the hash
	Length int64  `json:"length"`
	// Done bytes are on the medium, but for the first ones, which are in Head.
	Done int64  `json:"done"`
	Head []byte `json:"head"`
	// Sum is the SHA-256 of the first Done bytes, in hex. The medium is read
	// and compared with it: that it was written once proves nothing.
	Sum string `json:"sum"`
}

// maxRecord is far above what a record has.
const maxRecord = 64 << 10

// readRecord gives the record of a target; none, without an error, if there is
// one of another target or none at all.
func readRecord(name string, t Target) (*record, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return nil, err
	}
	r, err := parseRecord(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.Target != t.File() || r.Length != t.Length {
		return nil, nil
	}
	return r, nil
}

func parseRecord(text []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("not a record of a download: %w", err)
	}
	sum, err := hex.DecodeString(r.Sum)
	if err != nil || len(sum) != sha256.Size || r.Length <= 0 || r.Done < 0 || r.Done > r.Length || int64(len(r.Head)) != min(r.Done, headSize) {
		return nil, errors.New("not a record of a download: its numbers do not fit")
	}
	return &r, nil
}

func (r *record) write(name string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(name, text, 0o600)
}
