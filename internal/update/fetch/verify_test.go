package fetch

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func TestVerify(t *testing.T) {
	data := randomBytes(3, 3<<20+77)
	copy(data, squashfsMagic)
	binary.LittleEndian.PutUint64(data[squashfsUsed:], uint64(len(data)))
	known, _ := image(t, data)
	slot := func(change func([]byte) []byte) string {
		name := filepath.Join(t.TempDir(), "slot")
		put(t, name, change(append(append([]byte{}, data...), randomBytes(4, 5000)...)))
		return name
	}
	whole := slot(func(p []byte) []byte { return p })
	flipped := slot(func(p []byte) []byte { p[2<<20] ^= 1; return p })
	closed := slot(func(p []byte) []byte { clear(p[:sectorSize]); return p }) // by a fetch that did not end
	short := slot(func(p []byte) []byte { return p[:2<<20] })
	absurd := slot(func(p []byte) []byte { binary.LittleEndian.PutUint64(p[squashfsUsed:], 1<<63+5); return p })
	for name, tc := range map[string]struct {
		device string
		target Target
		kind   error
		text   string
	}{
		"as it was written":     {whole, known, nil, ""},
		"a bit flipped":         {flipped, known, ErrContent, "not what was signed any more"},
		"cut short":             {short, known, ErrSlot, "read at 2097152"},
		"unknown, whole":        {whole, Target{}, nil, ""},
		"unknown, a bit":        {flipped, Target{}, nil, ""}, // nobody can tell
		"unknown, not complete": {closed, Target{}, ErrSlot, "no complete system"},
		"unknown, cut short":    {short, Target{}, ErrSlot, "read at 2097152"},
		"unknown, absurd":       {absurd, Target{}, ErrSlot, "no complete system"},
		"not there":             {filepath.Join(t.TempDir(), "vda3"), known, ErrSlot, "it is not there"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, Verify(t.Context(), tc.device, tc.target), tc.kind, tc.text) })
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, Verify(ended, whole, known), context.Canceled, "")
	if after, err := os.ReadFile(whole); err != nil || string(after[:len(data)]) != string(data) {
		t.Errorf("it was written to: %v", err)
	}
}
