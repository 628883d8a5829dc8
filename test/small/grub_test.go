package small

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/abslot"
	"kubesolo.io/os/internal/abslottest"
	"kubesolo.io/os/internal/fatfile"
	"kubesolo.io/os/internal/gpt"
	"kubesolo.io/os/internal/image/disk"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/vmtest"
)

// slotDisk is a disk as the image has it, with GRUB for BIOS and UEFI, and slots
// that hold our kernel and slotinit.
type slotDisk struct {
	t      *testing.T
	kernel kernel
	accel  string
	path   string
	parts  map[string]gpt.Partition
	env    [2]int64 // where the copies are
}

func newSlotDisk(t *testing.T) *slotDisk {
	t.Helper()
	d := &slotDisk{t: t, kernel: findKernel(t)}
	d.make(d.slotImage("kubesolo-os.gz"), sparse(t, filepath.Join(t.TempDir(), "data"), 1<<20))
	return d
}

// make makes the disk, with an image in both slots.
func (d *slotDisk) make(slot, data string) {
	t := d.t
	t.Helper()
	d.path, d.parts = filepath.Join(t.TempDir(), "disk.img"), map[string]gpt.Partition{}
	d.accel = vmtest.Accelerator(t.Context(), d.kernel.Image)
	parts := disk.Parts{Slot: slot, Data: data, Work: t.TempDir()}
	if err := disk.Write(t.Context(), tool.New(nil, time.Unix(1_700_000_000, 0)), d.path, parts); err != nil {
		t.Fatal(err)
	}
	f := d.open()
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, _, err := gpt.Read(f, fi.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table.Partitions {
		d.parts[p.Name] = p
	}
	efi := d.parts[gpt.NameEFI]
	for i := range d.env {
		size := int64(efi.Sectors()) * 512
		found, err := fatfile.Find(io.NewSectionReader(f, int64(efi.First)*512, size), size, fmt.Sprintf("/boot/grub/env%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		d.env[i] = int64(efi.First)*512 + found.Extents[0].Offset
	}
}

// slotImage is a slot with our kernel, and its initramfs under the name.
func (d *slotDisk) slotImage(initrd string) string {
	d.t.Helper()
	const modules = "virtio_pci virtio_blk"
	stage, root := d.kernel.subset(d.t, strings.Fields(modules)), d.t.TempDir()
	writeFile(d.t, filepath.Join(stage, "modules"), []byte(modules), 0o644)
	run(d.t, repository(d.t), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(stage, "init"), "./test/small/slotinit")
	pack(d.t, stage, filepath.Join(root, initrd))
	copyFile(d.t, d.kernel.Image, filepath.Join(root, "vmlinuz"), 0o644)
	image := filepath.Join(d.t.TempDir(), "slot")
	run(d.t, root, "mksquashfs", root, image, "-quiet", "-no-progress", "-comp", "gzip", "-noI", "-noD", "-noF", "-noX")
	return image
}

func (d *slotDisk) open() *os.File {
	d.t.Helper()
	f, err := os.OpenFile(d.path, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return f
}

// write overwrites the beginning of a partition.
func (d *slotDisk) write(name string, content []byte) {
	d.t.Helper()
	f := d.open()
	defer f.Close()
	if _, err := f.WriteAt(content, int64(d.parts[name].First)*512); err != nil {
		d.t.Fatal(err)
	}
}

func (d *slotDisk) setCopies(copies abslot.Copies) {
	d.t.Helper()
	f := d.open()
	defer f.Close()
	for i, b := range copies {
		if _, err := f.WriteAt(b, d.env[i]); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *slotDisk) copies() (copies abslot.Copies) {
	d.t.Helper()
	f := d.open()
	defer f.Close()
	for i := range copies {
		copies[i] = make([]byte, abslot.Size)
		if _, err := f.ReadAt(copies[i], d.env[i]); err != nil {
			d.t.Fatal(err)
		}
	}
	return copies
}

// slotBoot is one start of the machine.
type slotBoot struct {
	name     string
	copies   abslot.Copies
	uefi     bool
	wait     bool // for the menu's time to run out, where no key is pressed
	readOnly bool
	whole    bool // to the end of slotinit; else only until GRUB loads a kernel
	// loads are the slots that GRUB tries to load; the last one runs. Empty: the
	// one that the copies name.
	loads string
}

// boot starts the machine and compares it with the model: the slot, whether it is
// on trial, each byte of the copies, and with whole what the kernel gets and both
// copies after slotinit has healed them.
func (d *slotDisk) boot(b slotBoot) {
	t := d.t
	d.setCopies(b.copies)
	after := b.copies
	slot, trial, err := abslottest.Boot(&after, func(i int, data []byte) error {
		if !b.readOnly {
			after[i] = data
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	loads := b.loads
	if loads == "" {
		loads = slot.String()
	}
	// The menu cannot know yet whether a try can be counted.
	shown := slot
	if s, _, err := b.copies.Choose(); err == nil {
		shown, _, _ = s.BootOnce()
	}
	onTrial := trial // of the first slot of loads
	if last := abslot.ParseSlot(loads[len(loads)-1:]); last != slot {
		slot, trial = last, false
	}
	config := vmtest.Config{Name: "grub-" + strings.ReplaceAll(b.name, " ", "-"), Accel: d.accel, Memory: 512, CPUs: 1, UEFI: b.uefi}
	if b.readOnly {
		config.Extra = []string{"-drive", "if=none,id=disk0,format=raw,readonly=on,file=" + d.path, "-device", "virtio-blk-pci,drive=disk0,bootindex=1"}
	} else {
		config.Disks = []vmtest.Disk{{Path: d.path}}
	}
	vm := vmtest.Run(t, config)
	expect := func(pattern string) []string {
		t.Helper()
		found, err := vm.Expect(pattern, stepLimit)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	expect(fmt.Sprintf(`\*KubeSolo OS \(slot %v\) `, shown))
	if !b.wait {
		if err := vm.Type("\r"); err != nil {
			t.Fatal(err)
		}
	}
	for i, load := range loads {
		want := string(load)
		if i == 0 && onTrial {
			want += " on trial"
		}
		if found := expect(`Loading KubeSolo OS from slot (.*?) \.\.\.`); found[1] != want {
			t.Errorf("GRUB loads slot %s, want %s", found[1], want)
		}
	}
	if !b.whole {
		vm.PowerCut()
		<-vm.Died()
		for i, got := range d.copies() {
			if !bytes.Equal(got, after[i]) {
				t.Errorf("GRUB leaves env%d as\n%s, want\n%s", i+1, got, after[i])
			}
		}
		return
	}
	d.checkWhole(vm, expect, after, slot, trial)
}

// checkWhole reads what slotinit says, and what it leaves on the disk.
func (d *slotDisk) checkWhole(vm *vmtest.VM, expect func(string) []string, after abslot.Copies, slot abslot.Slot, trial bool) {
	t := d.t
	if found := expect(`slot: (.*?)\r?\n`); found[1] != fmt.Sprintf("%v trial=%v warnings=[]", slot, trial) {
		t.Errorf("the kernel got %s, want slot %v, trial %v", found[1], slot, trial)
	}
	for i := range after {
		if found := expect(`slot: (.*?)\r?\n`); found[1] != fmt.Sprintf("env%d %x", i+1, after[i]) {
			t.Errorf("GRUB leaves %s, want env%d as\n%s", found[1], i+1, after[i])
		}
	}
	healed, writes, err := after.Heal(slot, trial)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%v, %v, healed=%v, <nil>", healed, healed.Outcome(slot, trial), len(writes) > 0)
	if found := expect(`slot: (.*?)\r?\n`); found[1] != want {
		t.Errorf("the node says %s, want %s", found[1], want)
	}
	vmtest.MustEnd(t, vm, "guest-shutdown", stepLimit)
	if left := d.copies(); !bytes.Equal(left[0], left[1]) {
		t.Error("the copies were not healed")
	} else if s, _, err := left.Choose(); err != nil || s != healed {
		t.Errorf("the disk says %v, %v, want %v", s, err, healed)
	}
}

// TestGRUB boots the real GRUB with the real menu from a disk as the image has it,
// for the states that there can be and for what power cuts leave of them.
func TestGRUB(t *testing.T) {
	t.Parallel() // its machines have one processor
	d := newSlotDisk(t)
	block := func(s abslot.State) []byte {
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	state := func(generation uint64, trial abslot.Slot, tries int) abslot.State {
		return abslot.State{Generation: generation, Good: abslot.A, Trial: trial, Tries: tries}
	}
	both := func(s abslot.State) abslot.Copies { return abslot.Copies{block(s), block(s)} }
	idle, armed := state(9, abslot.None, 0), state(10, abslot.B, 3)
	noise := bytes.Repeat([]byte{0xA5}, abslot.Size)
	torn := func(first, second []byte) []byte { return append(bytes.Clone(first[:512]), second[512:]...) }
	// A generation that GRUB cannot hold as a number.
	goodB := abslot.State{Generation: 4294967301, Good: abslot.B, Trial: abslot.A, Tries: 1}
	usedB := goodB
	usedB.Tries = 0
	boots := []slotBoot{
		{name: "idle", copies: both(idle), wait: true},
		{name: "idle, one damaged", copies: abslot.Copies{noise, block(idle)}, whole: true},
		{name: "armed, 3 tries", copies: both(armed), whole: true, wait: true},
		{name: "0 tries", copies: both(state(10, abslot.B, 0))},
		{name: "1 try of A, older copy", copies: abslot.Copies{block(goodB), block(state(5, abslot.None, 0))}},
		{name: "cut between the two writes of GRUB", copies: abslot.Copies{block(state(10, abslot.B, 2)), block(armed)}},
		{name: "first half torn", copies: abslot.Copies{torn(block(armed), block(idle)), block(armed)}},
		{name: "second half torn", copies: abslot.Copies{block(armed), torn(block(idle), block(armed))}},
		{name: "second half damaged", copies: abslot.Copies{torn(block(armed), noise), block(armed)}},
		{name: "one damaged", copies: abslot.Copies{noise, block(armed)}},
		{name: "both damaged", copies: abslot.Copies{noise, torn(noise, block(armed))}, wait: true},
		{name: "both torn while a try is counted", copies: abslot.Copies{torn(block(goodB), block(usedB)), torn(block(usedB), block(goodB))}, whole: true},
		{name: "read-only", copies: both(armed), readOnly: true},
		{name: "UEFI, armed", copies: both(armed), whole: true, uefi: true, wait: true},
	}
	run := func(b slotBoot) {
		t.Run(b.name, func(t *testing.T) {
			own := *d
			own.t = t
			own.boot(b)
			// The states that both copies have are BootOnce's, by the model.
			if s, _, err := b.copies.Choose(); err == nil && bytes.Equal(b.copies[0], b.copies[1]) && !b.readOnly {
				_, _, after := s.BootOnce()
				if left, _, err := own.copies().Choose(); err != nil || left != after {
					t.Errorf("the disk says %v, %v, want %v", left, err, after)
				}
			}
		})
	}
	for _, b := range boots {
		run(b)
	}
	image, err := os.ReadFile(d.slotImage("no-initramfs"))
	if err != nil {
		t.Fatal(err)
	}
	d.write(gpt.NameSlotB, image)
	run(slotBoot{name: "trial without initramfs", copies: both(armed), whole: true, loads: "BA"})
	run(slotBoot{name: "UEFI, good one without initramfs", copies: both(abslot.State{Generation: 3, Good: abslot.B, Trial: abslot.None}), whole: true, loads: "BA", uefi: true, wait: true})
	d.write(gpt.NameSlotB, make([]byte, 1<<20))
	run(slotBoot{name: "trial wiped", copies: both(armed), loads: "BA", wait: true})
	d.write(gpt.NameSlotA, make([]byte, 1<<20))
	t.Run("both wiped", func(t *testing.T) {
		vm := vmtest.Run(t, vmtest.Config{Name: "grub-both-wiped", Accel: d.accel, Memory: 512, CPUs: 1, Disks: []vmtest.Disk{{Path: d.path}}})
		if _, err := vm.Expect(`No slot can be loaded`, stepLimit); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
		defer cancel()
		if exit, err := vm.Wait(ctx); err != nil || exit.Reason != "guest-reset" {
			t.Errorf("%+v, %v", exit, err)
		}
	})
}
