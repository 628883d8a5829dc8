package small

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/gpt"
	"kubesolo.io/os/internal/update"
)

// updateScenario is one update, and what the disk was told in it.
type updateScenario struct {
	updateKind
	base       string // the disk before it
	medium     string
	aim        updateAim
	phase      string // of the state of updates before it
	generation uint64 // and of the slot state
	places     updatePlaces
	requests   []request
	steps      []string
	bootTime   time.Duration // of one of its boots, on the average

	results []cutResult
}

// updateScenarios runs each update once, without a cut, two at a time. The last one
// begins where the first ends, so that the slots have changed their parts.
func updateScenarios(t *testing.T, w *updateWorld, accel string) []*updateScenario {
	t.Helper()
	one, two := w.slot(t, "0.1.0", "good"), w.slot(t, "0.2.0", "good")
	three, four := w.slot(t, "0.3.0", "panics"), w.slot(t, "0.2.1", "unhealthy")
	d := &slotDisk{t: t, kernel: w.kernel}
	d.make(one.path, dataFile(t, filepath.Join(w.dir, "data.ext4")))
	d.hurry()
	kinds := updateKinds()
	good := &updateScenario{updateKind: kinds[0], base: d.path, medium: w.medium(t, "good", one, two), phase: string(update.Idle),
		aim: updateAim{oldSlot: "A", newSlot: "B", oldVersion: one.version, newVersion: two.version, good: true}}
	unhealthy := &updateScenario{updateKind: kinds[1], base: d.path, medium: w.medium(t, "unhealthy", one, four), phase: string(update.Idle),
		aim: updateAim{oldSlot: "A", newSlot: "B", oldVersion: one.version, newVersion: four.version}}
	panics := &updateScenario{updateKind: kinds[2], medium: w.medium(t, "good", one, two, three), phase: string(update.Good),
		aim: updateAim{oldSlot: "B", newSlot: "A", oldVersion: two.version, newVersion: three.version, panics: true}}
	t.Run("without a cut", func(t *testing.T) {
		t.Run("unhealthy", func(t *testing.T) {
			t.Parallel()
			unhealthy.run(t, d, w.dir, accel)
		})
		t.Run("good, then panics", func(t *testing.T) {
			t.Parallel()
			panics.base = good.run(t, d, w.dir, accel)
			panics.run(t, d, w.dir, accel)
		})
	})
	if t.Failed() {
		t.FailNow()
	}
	return []*updateScenario{good, unhealthy, panics}
}

// run does the update, and gives the disk after it.
func (s *updateScenario) run(t *testing.T, d *slotDisk, dir, accel string) (after string) {
	t.Helper()
	after = filepath.Join(dir, s.aim.newVersion+".img")
	run(t, dir, "cp", s.base, after)
	part := func(name string) extent {
		return extent{int64(d.parts[name].First) * 512, int64(d.parts[name].Sectors()) * 512}
	}
	s.places = updatePlaces{passive: part(map[string]string{"A": gpt.NameSlotA, "B": gpt.NameSlotB}[s.aim.newSlot]), data: part(gpt.NameData)}
	for i, at := range d.env {
		s.places.env[i] = extent{at, abslot.Size}
	}
	before, err := s.readBefore(s.base)
	if err != nil {
		t.Fatal(err)
	}
	state, _, err := before.copies.Choose()
	if err != nil {
		t.Fatal(err)
	}
	s.generation, before.generation, before.phases = state.Generation, state.Generation, []string{s.phase}
	vm := updateVM{accel: accel, disk: after, log: sparse(t, filepath.Join(dir, s.aim.newVersion+".log"), 0), medium: s.medium}
	begin := time.Now()
	told, err := vm.run(t.Context())
	if err == nil {
		err = s.aim.judge(told, before, false)
	}
	if err != nil {
		t.Fatalf("%s, without a cut: %v\n%s", s.title, err, told.tail())
	}
	s.bootTime = time.Since(begin) / time.Duration(len(told.boots))
	t.Logf("%s: %d boots, %v each", s.title, len(told.boots), s.bootTime.Round(time.Millisecond))
	s.requests = readLog(t, vm.log)
	s.steps = stepsOf(s.requests, s.places, before.copies)
	if err := s.places.checkWrites(s.requests, s.steps); err != nil {
		t.Fatalf("%s: %v", s.title, err)
	}
	return after
}

// disk is the disk of a scenario from before it, in a file of its own.
func (m *cutMatrix) disk(s *updateScenario) string {
	f, err := os.CreateTemp(m.dir, "cut-*.img")
	if err == nil {
		// cp leaves the holes, which are nearly all of it.
		err = errors.Join(f.Close(), exec.Command("cp", s.base, f.Name()).Run())
	}
	if err != nil {
		m.t.Error(err)
		return ""
	}
	return f.Name()
}

// applyTo does writes to a disk.
func applyTo(disk string, requests []request) error {
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, r := range requests {
		if len(r.data) > 0 && err == nil {
			_, err = f.WriteAt(r.data, r.at)
		}
	}
	return errors.Join(err, f.Close())
}

// matrixHead says how the table was made.
func matrixHead(t *testing.T, k kernel) string {
	t.Helper()
	version := func(name string, args ...string) string {
		line, _, _ := strings.Cut(run(t, ".", name, args...), "\n")
		return strings.TrimSpace(line)
	}
	return fmt.Sprintf(`# Power cuts in updates

Written by TestUpdatePowerCuts (%[1]stest/tiers.sh matrix%[1]s), with
%[1]s-updatecuts %[2]d -updateseed %[3]d%[1]s, Linux %[4]s,
%[5]s and %[6]s.

The machine has the disk image, GRUB (by BIOS) and the kernel as they are shipped. Only GRUB's
menu is not shown, the machine restarts at once after a panic, and of the kernel's arguments
%[1]spage_alloc.shuffle%[1]s is left out and %[1]sno_timer_check%[1]s is there, for machines that share two
processors. The slot images have no more in them than the engine of updates with everything
below it, down to the signed repository and the slot state. Stand-ins are what judges the health
of a version, the database, and what ksinit and ksagent do around the engine and the slot state:
their own are in the tests of the shipped image (TestUpdate).

Each update is done once, with all restarts, while QEMU logs what the disk is told: writes to
the two copies of the slot state, to the data partition and, until it has its version, to the
slot that is updated, and nowhere else. The disk of a cut is a prefix of that log, of which each
write that no flush in the log followed is there, is not, or is there up to some sector, at
random: also those of GRUB, whose BIOS does not flush. Where "%[9]s",
the first sector of each is new and the second one is not, and nothing else is there that was
not flushed. "%[7]s" is kill -9 at a random moment, up to three times in a row, each time
in a boot after the last.

Then the disk is booted. A node counts as lost unless each boot does what the slot state on
the disk leads to, runs a slot whose partition has, by its hash, all of the version that belongs
in it (the new one as a trial, or as the good one when it is good and was found so), and comes
to its end, which of the version that panics is that panic. No cut may cost both copies of the
slot state, but where the disk was in the middle of both. What was noted of the update is there
once it was flushed, and from the verdict in the slot state on nothing else comes up, and
nothing is tried again. A good version may only be given up when its three trials were all cut
off.

"to its end" are those in which nothing was left to do: they were in the right slot, with the
slot state, the phase, the refused versions and the database that belong to it. The others would
have needed a download or a restart for that, and were left there, or lost the power again.
Steps that all updates have in common are cut in the first one.

The cuts are at each boundary of a write to the slot state and of the writes that bring a file
there which says how far the update is, at least %[8]d in each step, and at random.
`, "`", *updateCutCount, *updateCutSeed, k.Release, version("grub-mkimage", "--version"), version("qemu-system-x86_64", "--version"), stepKilled, leastCuts, stepTorn)
}
