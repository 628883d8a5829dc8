package small

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/vmtest"
)

var (
	updateCutCount = flag.Int("updatecuts", 234, "power cuts in updates, or as many as have a reason and some at random")
	updateCutSeed  = flag.Uint64("updateseed", 1, "seed of the power cuts in updates")
	updateEvery    = flag.Int("updateevery", 1, "only each Nth of the power cuts in updates")
	updateFrom     = flag.Int("updatefrom", 0, "which of N, by the rest of a division by N")
	updateUEFI     = flag.Bool("updateuefi", false, "power cuts in updates with UEFI for firmware, not BIOS")
	updateMatrix   = flag.Bool("updatematrix", false, "write "+matrixFile)
)

const (
	// updateMachines run at a time, with one processor each.
	updateMachines = 2
	// stepKilled stands for all steps where QEMU was killed at a random moment.
	stepKilled = "QEMU is killed"
	// killsAChain is how often one node loses its power, each time in the boot
	// after the last.
	killsAChain = 3
)

// TestUpdatePowerCuts cuts the power in updates: a good one, one to a version that
// is never healthy, and one to a version that panics. The machine has the real disk
// image, GRUB and kernel; what runs on it is the engine of updates with everything
// below it, on a slot image that has little else.
//
// Each update runs once from its beginning to its end, with all restarts, while QEMU
// logs what the disk is told. From the log come the disks of the cuts: each a
// prefix, of which the writes that no flush followed are lost, kept or torn at
// random. Others come from QEMU being killed. Each disk is booted by its GRUB, and
// the node has to do what the slot state on it leads to, in a slot that is complete,
// by the hash of the partition; some are let go on until the update has come to its
// end. The logs also have to show that nothing else is written to.
func TestUpdatePowerCuts(t *testing.T) {
	w := newUpdateWorld(t)
	m := &cutMatrix{t: t, dir: w.dir, accel: vmtest.Accelerator(t.Context(), w.kernel.Image)}
	if *updateEvery < 1 || *updateFrom < 0 || *updateMatrix && (*updateEvery != 1 || *updateUEFI) {
		t.Fatal("-updateevery is 1 or more, and 1 with -updatematrix, which is by BIOS; -updatefrom is not negative")
	}
	t.Logf("each of %d, from %d on, seed %d, UEFI %v", *updateEvery, *updateFrom%*updateEvery, *updateCutSeed, *updateUEFI)
	begin := time.Now()
	scenarios := updateScenarios(t, w, m.accel)
	t.Logf("%v for the updates without a cut", time.Since(begin).Round(time.Second))
	kills := *updateCutCount / 12
	// These first: their moments are of the time that a boot has just taken.
	// Some chains end before the last cut.
	for i := range max(len(scenarios), kills*2/(2*killsAChain-1)) {
		m.jobs = append(m.jobs, func() {
			m.kill(scenarios[i%len(scenarios)], rand.New(rand.NewPCG(*updateCutSeed, 1<<48|uint64(i))))
		})
	}
	planned := 0
	for i, cuts := range planAll(t, scenarios, *updateCutCount-kills) {
		s := scenarios[i]
		for j, c := range cuts {
			m.jobs = append(m.jobs, func() { m.cut(s, c, rand.New(rand.NewPCG(*updateCutSeed, uint64(i)<<32|uint64(j+1)))) })
		}
		planned += len(cuts)
	}
	if planned < leastTotal {
		t.Fatalf("%d cuts are planned, want %d", planned, leastTotal)
	}
	m.run()
	var tables []matrixTable
	done := 0
	for _, s := range scenarios {
		tables = append(tables, matrixTable{s.title, s.results})
		done += len(s.results)
		t.Logf("%s\n%s", s.title, matrixRow("all", s.results))
	}
	t.Logf("%d cuts, %d boots, %v in all", done, m.boots, time.Since(begin).Round(time.Second))
	if done == 0 {
		t.Error("no cut was made")
	}
	if *updateEvery != 1 {
		t.Log(matrix("", tables))
		return
	}
	text := matrix(matrixHead(t, w.kernel), tables)
	if err := checkMatrix(text); err != nil {
		t.Error(err)
	}
	if *updateMatrix && !t.Failed() {
		writeFile(t, filepath.Join(repository(t), matrixFile), []byte(text), 0o644)
	}
}

// planAll plans the cuts of all updates: all that have a reason, and as many at random
// as are wanted, but some at least. Each has its share of those.
func planAll(t *testing.T, scenarios []*updateScenario, want int) (all [][]plannedCut) {
	t.Helper()
	random := rand.New(rand.NewPCG(*updateCutSeed, 0))
	chosen, must := make([][]int, len(scenarios)), 0
	for i, s := range scenarios {
		chosen[i] = chooseCuts(s.requests, s.steps, s.places, s.cutFrom, random)
		must += len(chosen[i])
	}
	more := max(want-must, leastRandom)
	for i, s := range scenarios {
		share := (more + len(scenarios) - 1 - i) / len(scenarios)
		at, err := randomCuts(chosen[i], s.steps, s.cutFrom, len(chosen[i])+share, random)
		if err != nil {
			t.Fatal(err)
		}
		cuts := append(planCuts(at, s.steps, s.cutFrom == stepBefore), tornCuts(s.requests, s.steps, s.places)...)
		if err := s.checkPlan(s.steps, cuts); err != nil {
			t.Fatalf("%s: %v", s.title, err)
		}
		for j, c := range cuts {
			before := s.requests[:c.n]
			cuts[j].phases = phasesAt(s.phase, before, s.places)
			cuts[j].decided = decided(before, s.steps)
			cuts[j].bothTorn = c.torn || bothTorn(before, s.places)
		}
		t.Logf("%s: %d requests, %d cuts, %d of them chosen", s.title, len(s.requests), len(cuts), len(chosen[i]))
		all = append(all, cuts)
	}
	return all
}

// cutMatrix runs the machines of all cuts.
type cutMatrix struct {
	t     *testing.T
	dir   string
	accel string
	jobs  []func()

	mu       sync.Mutex // of all results
	failures int
	boots    int
}

func (m *cutMatrix) run() {
	jobs := make(chan func())
	var wg sync.WaitGroup
	for range updateMachines {
		wg.Go(func() {
			for job := range jobs {
				job()
			}
		})
	}
	for i, job := range m.jobs {
		if i%*updateEvery == *updateFrom%*updateEvery {
			jobs <- job
		}
		if i%30 == 29 {
			m.t.Logf("%d of %d machines", i+1, len(m.jobs))
		}
	}
	close(jobs)
	wg.Wait()
}

// cut makes the disk of a cut, and boots it.
func (m *cutMatrix) cut(s *updateScenario, c plannedCut, random *rand.Rand) {
	disk := m.disk(s)
	defer os.Remove(disk)
	kept, lost := survivors(s.requests[:c.n], random)
	if c.torn {
		kept, lost = tornCopies(s.requests[:c.n], s.places)
	}
	if err := applyTo(disk, kept); err != nil {
		m.t.Error(err)
		return
	}
	before, err := s.readBefore(disk)
	if err != nil {
		m.t.Error(err)
		return
	}
	before.phases, before.decided, before.bothTorn = c.phases, c.decided, c.bothTorn
	told, err := updateVM{accel: m.accel, disk: disk, medium: s.medium, look: !c.settle}.run(m.t.Context())
	if err == nil {
		err = s.aim.judge(told, before, !c.settle)
	}
	m.result(s, told, cutResult{step: c.step, lost: lost > 0, failure: err})
	if err != nil {
		m.failed(s, told, fmt.Errorf("cut after %d of %d requests (%s), %d writes lost: %w", c.n, len(s.requests), c.step, lost, err), func(path string) error {
			return errors.Join(exec.Command("cp", s.base, path).Run(), applyTo(path, kept))
		})
	}
}

// kill lets a machine lose its power again and again, and at last come to its end. A
// good version is refused when all of its trials were cut off, and only then.
func (m *cutMatrix) kill(s *updateScenario, random *rand.Rand) {
	disk, aim := m.disk(s), s.aim
	defer os.Remove(disk)
	var powers []string
	pending := 0 // cuts after which nothing has come up yet
	for {
		before, err := s.readBefore(disk)
		if err != nil {
			m.t.Error(err)
			return
		}
		if before.usedUp() && len(powers) >= abslot.MaxTries {
			aim.good = false
		}
		vm := updateVM{accel: m.accel, disk: disk, medium: s.medium}
		if len(powers) < killsAChain {
			vm.power = time.Duration((0.05 + 1.5*random.Float64()) * float64(s.bootTime))
		}
		told, err := vm.run(m.t.Context())
		if err == nil {
			err = aim.judge(told, before, false)
		}
		if told.cameUp() || err != nil {
			for range pending {
				m.result(s, told, cutResult{step: stepKilled, failure: err})
			}
			pending = 0
		}
		if err != nil {
			m.failed(s, told, fmt.Errorf("QEMU killed after %s: %w", strings.Join(powers, ", "), err), func(path string) error {
				return exec.Command("cp", disk, path).Run()
			})
			return
		}
		if !told.cut {
			return
		}
		powers = append(powers, vm.power.Round(time.Millisecond).String())
		pending++
	}
}

// result notes what came of a cut.
func (m *cutMatrix) result(s *updateScenario, t told, r cutResult) {
	if len(t.boots) > 0 && t.boots[0].started != nil && r.failure == nil {
		r.slot = t.boots[0].started.Slot
		last := t.boots[len(t.boots)-1].ended
		r.settled = last != nil && last.Settled
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boots += len(t.boots)
	s.results = append(s.results, r)
}

// failed keeps what is needed to look at a lost node: its disk as the cut left it.
func (m *cutMatrix) failed(s *updateScenario, t told, failure error, disk func(path string) error) {
	m.mu.Lock()
	m.failures++
	name := fmt.Sprintf("power-cut-%d", m.failures)
	m.mu.Unlock()
	dir := os.Getenv(vmtest.TranscriptsEnv)
	if dir == "" {
		dir = filepath.Join("..", "..", "build", "transcripts")
	}
	path := filepath.Join(dir, name)
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path+".log", []byte(t.text), 0o644), disk(path+".img"),
		exec.Command("cp", s.medium, path+".medium").Run())
	m.t.Errorf("%s: %v\n%s\nKept as %s.log, .img and .medium (%v). To see it again:\n"+
		"qemu-system-x86_64 -machine q35 -m 256 -nographic -snapshot -drive if=virtio,format=raw,file=%[4]s.img "+
		"-drive if=none,id=m,format=raw,file=%[4]s.medium -device virtio-blk-pci,drive=m,serial=medium",
		s.title, failure, t.tail(), path, err)
}
