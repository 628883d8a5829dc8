package abslottest

import (
	"sync"

	"kubesolo.io/os/internal/abslot"
)

// Disk keeps the copies in memory, in the place of a bootenv.Disk. It writes all or
// nothing; abslot's own tests tear.
type Disk struct {
	// Fail is the error of all writes, if any. It is set while nobody uses the disk.
	Fail error

	mu     sync.Mutex
	copies abslot.Copies
}

// NewDisk has both copies say the state, which is a valid one.
func NewDisk(s abslot.State) (*Disk, error) {
	b, err := s.Encode()
	if err != nil {
		return nil, err
	}
	return &Disk{copies: abslot.Copies{b, append([]byte(nil), b...)}}, nil
}

// Damage makes a copy invalid: 0 is env1, 1 is env2.
func (d *Disk) Damage(copy int) { d.copies[copy] = make([]byte, abslot.Size) }

// Boot is a start of the machine by GRUB.
func (d *Disk) Boot() (slot abslot.Slot, trial bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	slot, trial, _ = Boot(&d.copies, func(number int, data []byte) error {
		d.copies[number] = data
		return nil
	})
	return slot, trial
}

// Heal is that of bootenv.Disk.
func (d *Disk) Heal(running abslot.Slot, trial bool) (abslot.State, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	state, writes, err := d.copies.Heal(running, trial)
	if err != nil || len(writes) == 0 {
		return state, false, err
	}
	return state, d.Fail == nil, d.write(writes)
}

// Change is that of bootenv.Disk.
func (d *Disk) Change(next func(abslot.State) (abslot.State, error)) (abslot.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, _, err := d.copies.Choose()
	if err != nil {
		return abslot.State{}, err
	}
	state, err := next(now)
	if err != nil {
		return abslot.State{}, err
	}
	writes, err := d.copies.Writes(state)
	if err != nil {
		return abslot.State{}, err
	}
	return state, d.write(writes)
}

func (d *Disk) write(writes []abslot.Write) error {
	if d.Fail != nil {
		return d.Fail
	}
	for _, w := range writes {
		d.copies[w.Copy] = w.Data
	}
	return nil
}

// Slot names a partition of 1 MiB.
func (d *Disk) Slot(s abslot.Slot) (path string, size int64) {
	return "/dev/slot-" + s.String(), 1 << 20
}
