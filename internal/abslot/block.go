package abslot

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Size is the length of a copy in bytes: a GRUB environment block, two sectors of
// SectorSize.
const (
	Size       = 1024
	SectorSize = 512
)

// Header is the first line of every environment block; GRUB takes a file without
// it for none.
const Header = "# GRUB Environment Block\n"

// note is for who looks at the file. GRUB passes over comments.
const note = "# Written by KubeSolo OS and GRUB only. state: generation, good slot, slot on trial, tries left.\n"

const (
	digits   = 10
	stateLen = digits + len("-A-B-3")
)

// ErrInvalid is wrapped by every error of Decode: torn, damaged, or not ours.
var ErrInvalid = errors.New("not a valid copy of the slot state")

// text is the state as it is in the block: always of the same length, so that a
// state is written over another one without moving a byte. GRUB 2.06 compares the
// generations as text: its numbers have 32 bits under BIOS, and leading zeros
// make them octal.
func (s State) text(tries int) string {
	return fmt.Sprintf("%0*d-%c-%c-%d", digits, s.Generation, s.Good, s.Trial, tries)
}

// sums are the CRC-32C of the state with 0, 1, 2 and 3 tries: GRUB can neither
// subtract nor sum, so what it may need is there before.
func (s State) sums() string {
	table := crc32.MakeTable(crc32.Castagnoli)
	var out []string
	for tries := range MaxTries + 1 {
		out = append(out, fmt.Sprintf("%08x", crc32.Checksum([]byte(s.text(tries)), table)))
	}
	return strings.Join(out, ".")
}

// Encode is a copy of Size bytes. Each of its two sectors has all of the state.
// Copies of two states differ in nothing but digits and letters.
func (s State) Encode() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	state, sums := s.text(s.Tries), s.sums()
	b := make([]byte, 0, Size)
	b = fmt.Appendf(b, "%s%sstate=%s\nsums=%s\n", Header, note, state, sums)
	b = fill(b, SectorSize-1)
	b = fmt.Appendf(b, "\nstate2=%s\nsums2=%s\n", state, sums)
	return fill(b, Size), nil
}

// fill appends "#" up to a length: a comment in the first sector; after the last
// line what GRUB takes for free space.
func fill(b []byte, to int) []byte {
	return append(b, bytes.Repeat([]byte("#"), to-len(b))...)
}

// Decode reads a copy. One that differs in any bit from what Encode writes is an
// error that wraps ErrInvalid.
func Decode(b []byte) (State, error) {
	const at = len(Header) + len(note) + len("state=")
	if len(b) != Size {
		return State{}, fmt.Errorf("%w: %d bytes, want %d", ErrInvalid, len(b), Size)
	}
	if !bytes.HasPrefix(b, []byte(Header)) {
		return State{}, fmt.Errorf("%w: GRUB's first line is missing", ErrInvalid)
	}
	text := string(b[at:][:stateLen])
	generation, err := strconv.ParseUint(text[:digits], 10, 64)
	if err != nil {
		return State{}, fmt.Errorf("%w: state %q", ErrInvalid, text)
	}
	// Places that are wrong make a state that cannot be, or another text.
	s := State{Generation: generation, Good: Slot(text[digits+1]), Trial: Slot(text[digits+3]), Tries: int(text[digits+5]) - '0'}
	want, err := s.Encode()
	if err != nil {
		return State{}, fmt.Errorf("%w: state %q", ErrInvalid, text)
	}
	for i := range want {
		if b[i] != want[i] {
			return State{}, fmt.Errorf("%w: byte %d does not go with state %q", ErrInvalid, i, text)
		}
	}
	return s, nil
}
