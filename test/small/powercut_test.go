package small

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/datafs"
	"kubesolo.io/os/internal/vmtest"
)

const (
	cutWriters = 4
	cutsARound = 8
	fsSize     = datafs.TemplateSize
)

var (
	cutCount = flag.Int("cuts", 56, "power cuts under write load")
	cutSeed  = flag.Uint64("cutseed", 1, "seed of the power cuts")
)

// acknowledged is, by writer, the last operation that was acknowledged.
type acknowledged [cutWriters]int

// trial is a disk that lost its power.
type trial struct {
	file  string
	disk  []byte
	acked acknowledged
	at    string
}

// TestPowerCuts cuts the power under the datastore while four clients write,
// and looks whether each operation that was acknowledged is there afterwards,
// and whether the file system is clean after its journal was replayed.
//
// A boot looks at the disks of the cuts before, and goes on writing on one of
// them. QEMU logs what that disk is told, and is killed. From the log come the
// next disks: each a prefix of random length, of which the writes that no flush
// followed are lost, kept or torn at random. (Killing QEMU alone loses nothing:
// its writes are in the host's page cache.)
func TestPowerCuts(t *testing.T) {
	t.Parallel() // it waits for the disk half of the time
	c := newCutter(t)
	random := rand.New(rand.NewPCG(*cutSeed, 0))
	base := trial{disk: c.freshDisk(t), at: "fresh"}
	var trials []trial
	unsynced, done := 0, 0
	for round := 0; done < *cutCount || len(trials) > 0; round++ {
		last := done >= *cutCount
		log := c.boot(t, base, trials, last)
		if last {
			break
		}
		requests := readLog(t, log)
		acks := acksOf(requests, base.acked)
		trials = trials[:0]
		for i := range min(cutsARound, *cutCount-done) {
			n := len(requests) - random.IntN(len(requests)*3/4)
			if !requests[n-1].flush {
				unsynced++
			}
			trials = append(trials, trial{
				file: filepath.Join(c.dir, fmt.Sprintf("cut%d.img", i)), disk: cut(base.disk, requests, n, random),
				acked: acks[n-1], at: fmt.Sprintf("round %d, request %d of %d", round, n, len(requests)),
			})
			done++
		}
		base = trials[random.IntN(len(trials))]
		t.Logf("round %d: %d requests, acknowledged %v", round, len(requests), acks[len(acks)-1])
	}
	if unsynced == 0 {
		t.Error("every cut was just after a flush: nothing was tried")
	}
	t.Logf("%d cuts, %d of them with writes that no flush had followed", done, unsynced)
}

// acksOf gives, after each request, what had been acknowledged by then.
func acksOf(requests []request, acked acknowledged) []acknowledged {
	var after []acknowledged
	for _, r := range requests {
		// The kernel may merge the sectors of two writers into one request.
		for at := 0; r.at >= fsSize && at < len(r.data); at += logSector {
			var w, n int
			if _, err := fmt.Sscanf(string(r.data[at:]), "acknowledged %d %d", &w, &n); err == nil && w < cutWriters {
				acked[w] = n
			}
		}
		after = append(after, acked)
	}
	return after
}

func TestAcknowledgementsOfOneRequest(t *testing.T) {
	data := make([]byte, 2*logSector)
	copy(data, "acknowledged 1 7\n")
	copy(data[logSector:], "acknowledged 2 9\n")
	got := acksOf([]request{{at: 0, data: data}, {at: fsSize + logSector, data: data}, {flush: true}}, acknowledged{5, 6, 7, 8})
	want := []acknowledged{{5, 6, 7, 8}, {5, 7, 9, 8}, {5, 7, 9, 8}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

type cutter struct {
	kernel kernel
	initrd string
	dir    string
	random *rand.Rand
}

func newCutter(t *testing.T) *cutter {
	t.Helper()
	c := &cutter{kernel: findKernel(t), dir: t.TempDir(), random: rand.New(rand.NewPCG(*cutSeed, 1))}
	const modules = "virtio_pci virtio_blk ext4"
	stage := c.kernel.subset(t, strings.Fields(modules))
	writeFile(t, filepath.Join(stage, "modules"), []byte(modules), 0o644)
	root := repository(t)
	run(t, root, "go", "build", "-trimpath", "-o", filepath.Join(stage, "init"), "./test/small/cutinit")
	run(t, filepath.Join(root, "solonode"), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(stage, "powercut"), "./internal/datastore/powercut")
	dataTemplate(t, filepath.Join(stage, "data.ext4.gz"))
	addRepair(t, stage)
	c.initrd = filepath.Join(c.dir, "initrd")
	pack(t, stage, c.initrd)
	return c
}

// freshDisk is the data file system as the node makes it, and behind it a
// MiB for the acknowledgements.
func (c *cutter) freshDisk(t *testing.T) []byte {
	t.Helper()
	disk, err := os.ReadFile(dataFile(t, filepath.Join(c.dir, "fresh.img")))
	if err != nil || len(disk) != fsSize {
		t.Fatalf("%d bytes, %v", len(disk), err)
	}
	return append(disk, make([]byte, 1<<20)...)
}

// boot looks at the trials and, unless it is the last, writes on base until
// the cut; it gives the log of that.
func (c *cutter) boot(t *testing.T, base trial, trials []trial, last bool) (log string) {
	t.Helper()
	data, log := filepath.Join(c.dir, "base.img"), filepath.Join(c.dir, "base.log")
	writeSparse(t, data, base.disk)
	sparse(t, log, 0)
	disks := []vmtest.Disk{}
	for i, x := range trials {
		writeSparse(t, x.file, x.disk)
		disks = append(disks, vmtest.Disk{Path: x.file, Serial: fmt.Sprint("look", i)})
	}
	appendix := fmt.Sprintf("console=ttyS0 panic=-1 quiet cut.disks=%d", 1+len(trials))
	if !last {
		appendix += fmt.Sprintf(" cut.write=%d", fsSize)
	}
	vm := vmtest.Run(t, vmtest.Config{
		Kernel: c.kernel.Image, Initrd: c.initrd, Append: appendix, Memory: 512, Disks: disks,
		Extra: []string{
			"-blockdev", "driver=file,node-name=cutfile,filename=" + data,
			"-blockdev", "driver=file,node-name=cutlog,filename=" + log,
			"-blockdev", "driver=blklogwrites,node-name=cutdisk,file=cutfile,log=cutlog,log-sector-size=512,log-super-update-interval=1",
			"-device", "virtio-blk-pci,drive=cutdisk,serial=write",
		},
	})
	for i, x := range trials {
		judge(t, vm, fmt.Sprint("look", i), x)
	}
	if last {
		vmtest.MustEnd(t, vm, "guest-shutdown", stepLimit)
	} else {
		c.cutUnderLoad(t, vm)
	}
	for _, x := range trials {
		// -n: nothing is changed; -f: all of it, though the journal is empty.
		if out, err := exec.Command("e2fsck", "-fn", x.file).CombinedOutput(); err != nil {
			t.Errorf("%s: the file system is not clean: %v\n%s", x.at, err, out)
		}
	}
	return log
}

// TestFullDisk starts the datastore on a disk that was filled to its last block
// under it, with a log that is still to be merged.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	c := newCutter(t)
	vm := vmtest.Run(t, vmtest.Config{
		Kernel: c.kernel.Image, Initrd: c.initrd, Append: "console=ttyS0 panic=-1 quiet cut.disks=1 cut.full", Memory: 512,
		Disks: []vmtest.Disk{{Path: sparse(t, filepath.Join(c.dir, "full.img"), 1<<30), Serial: "write"}},
	})
	for boot, want := range []string{`\[0,0,0,0\].*; <nil>; \[\]`, `\[40,40,40,40\].*; <nil>; .*was released`} {
		if _, err := vm.Expect(fmt.Sprintf(`cut: boot %d state .*%s`, boot+1, want), stepLimit); err != nil {
			t.Fatal(err)
		}
	}
	vmtest.MustEnd(t, vm, "guest-shutdown", stepLimit)
}

// cutUnderLoad waits for some acknowledgements, and then some milliseconds.
func (c *cutter) cutUnderLoad(t *testing.T, vm *vmtest.VM) {
	t.Helper()
	for range 40 + c.random.IntN(160) {
		if _, err := vm.Expect(`acknowledged \d+ \d+\r?\n`, stepLimit); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Duration(c.random.IntN(200)) * time.Millisecond)
	vm.PowerCut()
	<-vm.Died()
}

// judge compares what a guest found on a disk with what had been acknowledged.
// One operation more is right: it was under way.
func judge(t *testing.T, vm *vmtest.VM, name string, x trial) {
	t.Helper()
	found, err := vm.Expect(`cut: `+name+` (state (\{.*\})|error .*)\r?\n|cut: end`, stepLimit)
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		After acknowledged
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(found[2]))).Decode(&state); err != nil {
		t.Errorf("%s: %q", x.at, found[0])
		return
	}
	for w, n := range state.After {
		if n != x.acked[w] && n != x.acked[w]+1 {
			t.Errorf("%s: writer %d is after operation %d, and %d was acknowledged", x.at, w, n, x.acked[w])
		}
	}
}
