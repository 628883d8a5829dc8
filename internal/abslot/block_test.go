package abslot_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/abslot"
)

func encode(t testing.TB, s abslot.State) []byte {
	t.Helper()
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The form is what disks in the field have: it must not change by accident.
func TestForm(t *testing.T) {
	got := string(encode(t, abslot.State{Generation: 7, Good: abslot.A, Trial: abslot.B, Tries: 3}))
	const sums = "e588ae62.17e32d61.04b3de95.f6d85d96"
	first, second := got[:abslot.SectorSize], got[abslot.SectorSize:]
	if !strings.HasPrefix(first, "# GRUB Environment Block\n# ") || !strings.Contains(first, "\nstate=0000000007-A-B-3\nsums="+sums+"\n##") ||
		!strings.HasSuffix(first, "##\n") || !strings.HasPrefix(second, "state2=0000000007-A-B-3\nsums2="+sums+"\n##") ||
		strings.Trim(second[70:], "#") != "" {
		t.Errorf("%s", got)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, s := range states() {
		data := encode(t, s)
		if len(data) != abslot.Size {
			t.Fatalf("%d bytes", len(data))
		}
		if got, err := abslot.Decode(data); err != nil || got != s {
			t.Errorf("%v: read as %v, %v", s, got, err)
		}
	}
	for _, bad := range []abslot.State{
		{}, {Good: none, Trial: none}, {Good: a, Trial: none, Tries: 1}, {Good: a, Trial: a, Tries: 1}, {Good: a, Trial: b, Tries: 4},
		{Good: a, Trial: b, Tries: -1}, {Good: a, Trial: none, Generation: abslot.MaxGeneration + 1}, {Good: 'C', Trial: a},
	} {
		if _, err := bad.Encode(); err == nil {
			t.Errorf("%+v was written", bad)
		}
	}
}

func TestEveryBitFlipIsNoticed(t *testing.T) {
	for _, s := range []abslot.State{abslot.First(a), {Generation: 7, Good: b, Trial: a, Tries: 2}} {
		data := encode(t, s)
		for bit := range 8 * len(data) {
			data[bit/8] ^= 1 << (bit % 8)
			if got, err := abslot.Decode(data); !errors.Is(err, abslot.ErrInvalid) {
				t.Errorf("bit %d: %v, %v", bit, got, err)
			}
			data[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// The same bits flipped in both sectors are what only the sum sees.
func TestSum(t *testing.T) {
	data := encode(t, abslot.State{Generation: 7, Good: a, Trial: b, Tries: 3})
	for _, forged := range [][]byte{
		bytes.ReplaceAll(data, []byte("0007-"), []byte("0008-")), bytes.ReplaceAll(data, []byte("-A-B-3"), []byte("-B-A-3")),
		bytes.ReplaceAll(data, []byte("-A-B-3"), []byte("-A-N-0")), bytes.ReplaceAll(data, []byte("-B-3"), []byte("-B-4")),
		data[:abslot.Size-1], append(bytes.Clone(data), '#'), nil,
	} {
		if s, err := abslot.Decode(forged); !errors.Is(err, abslot.ErrInvalid) {
			t.Errorf("%.60q: %v, %v", forged, s, err)
		}
	}
}

// GRUB's own tool reads the block, and what it writes is what Encode would.
func TestGRUBReadsAndWrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env1")
	editenv := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("grub-editenv", append([]string{file}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("grub-editenv %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, from := range states() {
		if from.Generation > 100 && from.Generation < abslot.MaxGeneration {
			continue
		}
		if err := os.WriteFile(file, encode(t, from), 0o600); err != nil {
			t.Fatal(err)
		}
		to := abslot.State{Generation: 8, Good: from.Good.Other(), Trial: from.Good, Tries: 2}
		var set []string
		for line := range strings.Lines(string(encode(t, to))) {
			if strings.HasPrefix(line, "s") {
				set = append(set, strings.TrimSpace(line))
			}
		}
		if list := editenv("list"); strings.Count(list, "\n") != 4 || !strings.HasPrefix(list, "state=") || !strings.Contains(list, "\nstate2=") {
			t.Errorf("%v is read as\n%s", from, list)
		}
		editenv(append([]string{"set"}, set...)...)
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, encode(t, to)) {
			t.Errorf("%v, set to %v, %v:\n%s", from, to, err, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, abslot.First(a)))
	f.Add(encode(f, abslot.State{Generation: 7, Good: b, Trial: a, Tries: 2}))
	f.Add([]byte(abslot.Header))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := abslot.Decode(data)
		if err != nil {
			if !errors.Is(err, abslot.ErrInvalid) {
				t.Error(err)
			}
			return
		}
		if again, err := s.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%v is written in another way, %v", s, err)
		}
	})
}
