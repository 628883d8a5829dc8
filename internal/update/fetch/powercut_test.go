package fetch

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kubesolo.io/os/internal/update/source"
)

var errPower = errors.New("power cut")

// disk is a medium that loses its power at the operation cut. Of what was not
// synced by then each sector is there or not.
type disk struct {
	durable []byte
	cache   []byte
	dirty   map[int]bool // sectors
	random  *rand.Rand
	lies    bool // says that it synced, and did not
	ops     int
	cut     int // 0 for never
	trace   []string
}

func newDisk(content []byte, seed uint64, cut int) *disk {
	return &disk{durable: bytes.Clone(content), cache: bytes.Clone(content), dirty: map[int]bool{}, random: rand.New(rand.NewPCG(seed, 7)), cut: cut}
}

// step counts an operation; the error is that the power is gone.
func (d *disk) step(what string) error {
	d.ops++
	d.trace = append(d.trace, what)
	if d.cut == 0 || d.ops < d.cut {
		return nil
	}
	if d.ops == d.cut {
		for sector := range d.dirty {
			if d.random.IntN(2) == 0 {
				d.keep(sector)
			}
		}
		d.dirty = map[int]bool{}
	}
	return errPower
}

func (d *disk) keep(sector int) {
	from, to := sector*sectorSize, min((sector+1)*sectorSize, len(d.cache))
	copy(d.durable[from:to], d.cache[from:to])
}

func (d *disk) WriteAt(p []byte, at int64) (int, error) {
	if d.cut > 0 && d.ops+1 == d.cut {
		// As many whole sectors as got there.
		if end := (int(at) + d.random.IntN(len(p)+1)) / sectorSize * sectorSize; end > int(at) {
			p = p[:end-int(at)]
		} else {
			p = nil
		}
	}
	if d.cut == 0 || d.ops < d.cut {
		copy(d.cache[at:], p)
		for sector := int(at) / sectorSize; sector*sectorSize < int(at)+len(p); sector++ {
			d.dirty[sector] = true
		}
	}
	if err := d.step(fmt.Sprintf("write %d at %d", len(p), at)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *disk) ReadAt(p []byte, at int64) (int, error) {
	if d.cut > 0 && d.ops >= d.cut {
		return 0, errPower
	}
	return copy(p, d.cache[at:]), nil
}

func (d *disk) Sync() error {
	if err := d.step("sync"); err != nil {
		return err
	}
	if !d.lies {
		for sector := range d.dirty {
			d.keep(sector)
		}
		d.dirty = map[int]bool{}
	}
	return nil
}

// Forget stands between a sync and the record of it.
func (d *disk) Forget(int64, int64) error { return d.step("forget") }

func (d *disk) Close() error { return nil }

// memoryDir is a directory whose syncs cost nothing: it is not the record that
// loses its power here, and a thousand syncs are half a minute.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "fetch-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// bootable checks what a cut may leave: the old slot whole, the new one whole,
// or what nothing can boot.
func bootable(durable, before, image []byte) error {
	n := min(len(image), sectorSize)
	switch first := durable[:sectorSize]; {
	case bytes.Equal(first, before[:sectorSize]):
		if !bytes.Equal(durable, before) {
			return errors.New("the old slot has its beginning, and is damaged")
		}
	case bytes.Equal(first[:n], image[:n]):
		if !bytes.Equal(durable[:len(image)], image) {
			return errors.New("the new slot has its beginning, and is not whole")
		}
	case !bytes.Equal(first[:n], make([]byte, n)):
		return errors.New("the slot has half a beginning")
	}
	if !bytes.Equal(durable[len(image)+sectorSize:], before[len(image)+sectorSize:]) {
		return errors.New("what is behind the image was written")
	}
	return nil
}

// TestPowerCutAtEveryStep cuts the power at each write, sync and checkpoint,
// once more while the download is continued, and lets the third one end.
func TestPowerCutAtEveryStep(t *testing.T) {
	data := randomBytes(1, 70_001)
	before := randomBytes(99, 80_000)
	target, medium := image(t, data)
	run := func(t *testing.T, d *disk, from source.Source, state string) error {
		o := Options{Source: from, Target: target, Device: "disk", State: state}
		f := download{Options: o, part: d, buffer: make([]byte, 4096), every: 16 << 10, first: time.Millisecond}
		err := f.run(t.Context())
		if problem := bootable(d.durable, before, data); problem != nil {
			t.Fatalf("cut at %d, %v: %v", d.cut, problem, d.trace)
		}
		if d.cut == 0 && err != nil {
			t.Fatalf("%v: %v", err, d.trace)
		}
		if err == nil {
			wantSlot(t, d.durable, before, data)
		}
		return err
	}
	whole := newDisk(before, 0, 0)
	if err := run(t, whole, medium, filepath.Join(memoryDir(t), "state")); err != nil {
		t.Fatal(err)
	}
	const seeds = 4
	cuts, resumed := 0, 0
	for cut := 1; cut <= whole.ops; cut++ {
		for seed := range uint64(seeds) {
			state := filepath.Join(memoryDir(t), "state")
			first := newDisk(before, seed, cut)
			wantError(t, run(t, first, medium, state), errPower, "")
			second := newDisk(first.durable, seed, 1+int(seed*uint64(cut))%whole.ops)
			if err := run(t, second, medium, state); err != nil { // else it needed fewer steps
				wantError(t, err, errPower, "")
			}
			cuts += 2
			from := &asked{Source: medium}
			if run(t, newDisk(second.durable, seed, 0), from, state); len(from.offsets) == 0 || from.offsets[0] > 0 {
				resumed++
			}
		}
	}
	t.Logf("%d cuts at %d steps; %d downloads were continued", cuts, whole.ops, resumed)
	if resumed < cuts/4 {
		t.Errorf("only %d downloads of %d were continued", resumed, cuts/2)
	}
}

// A medium that says it has what it has not: the record is ahead of it.
func TestMediumThatLies(t *testing.T) {
	data := randomBytes(1, 70_001)
	before := randomBytes(99, 80_000)
	target, medium := image(t, data)
	restarts := 0
	for cut := 8; cut <= 40; cut++ {
		state := filepath.Join(memoryDir(t), "state")
		first := newDisk(before, uint64(cut), cut)
		first.lies = true
		o := Options{Source: medium, Target: target, Device: "disk", State: state, Failed: func(err error, _ time.Duration) {
			if errors.Is(err, errMismatch) {
				restarts++
			}
		}}
		f := download{Options: o, part: first, buffer: make([]byte, 4096), every: 16 << 10, first: time.Millisecond}
		if err := f.run(t.Context()); err == nil {
			continue
		}
		second := newDisk(first.durable, 1, 0)
		f = download{Options: o, part: second, buffer: make([]byte, 4096), every: 16 << 10, first: time.Millisecond}
		if err := f.run(t.Context()); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		wantSlot(t, second.durable, before, data)
	}
	if restarts == 0 {
		t.Error("nothing was ever missing")
	}
}

// flipping changes a bit of the medium after the sync of a checkpoint.
type flipping struct {
	partition
	forgets, at int
	flip        func()
}

func (f *flipping) Forget(offset, length int64) error {
	if f.forgets++; f.forgets == f.at {
		f.flip()
	}
	return f.partition.Forget(offset, length)
}

func TestBitFlips(t *testing.T) {
	data := randomBytes(1, 70_001)
	target, medium := image(t, data)
	for _, where := range []int{headSize, 40_000, 70_000} {
		t.Run(fmt.Sprint(where), func(t *testing.T) {
			o := Options{Source: medium, Target: target, Device: slotFile(t, 100_000), State: filepath.Join(t.TempDir(), "state")}
			before := get(t, o.Device)
			f := quick(t, o)
			// Four checkpoints at 16 KiB each and one at the end; the sixth
			// time is before all is read back.
			f.part = &flipping{partition: f.part, at: 6, flip: func() {
				slot := get(t, o.Device)
				slot[where] ^= 1
				put(t, o.Device, slot)
			}}
			wantError(t, f.run(t.Context()), ErrSlot, "does not have what was written to it")
			if !bytes.Equal(get(t, o.Device)[:headSize], make([]byte, headSize)) {
				t.Error("a damaged slot has a beginning")
			}
			if err := Fetch(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			wantSlot(t, get(t, o.Device), before, data)
			// Later, the next fetch of the same finds it, and mends it.
			slot := get(t, o.Device)
			slot[where] ^= 1
			put(t, o.Device, slot)
			told := 0
			o.Failed = func(err error, _ time.Duration) {
				wantError(t, err, errMismatch, "begin anew")
				told++
			}
			if err := Fetch(t.Context(), o); err != nil || told != 1 {
				t.Errorf("%v, told %d times", err, told)
			}
			wantSlot(t, get(t, o.Device), before, data)
		})
	}
}

// The beginning is read back too, and taken away again if it is wrong.
func TestBitFlipInTheBeginning(t *testing.T) {
	data := randomBytes(1, 10_000)
	target, medium := image(t, data)
	o := Options{Source: medium, Target: target, Device: slotFile(t, 20_000), State: filepath.Join(t.TempDir(), "state")}
	f := quick(t, o)
	flips := &flipping{partition: f.part, flip: func() {
		slot := get(t, o.Device)
		slot[7] ^= 1
		put(t, o.Device, slot)
	}}
	flips.at = 1 + 1 + 2 + 2 // checkpoint, all, its two blocks, the beginning as it was and as it is
	f.part = flips
	wantError(t, f.run(t.Context()), ErrSlot, "written to it, at its beginning")
	if !bytes.Equal(get(t, o.Device)[:sectorSize], make([]byte, sectorSize)) {
		t.Error("a damaged slot has a beginning")
	}
}
