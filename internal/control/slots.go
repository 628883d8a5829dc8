package control

import "time"

// Slots is the answer to VerbSlots: the system slots of the disk, as the
// environment block has them.
type Slots struct {
	// Problem is why there can be no update: this is no installed disk, or its
	// blocks cannot be read. Only Running is known then.
	Problem string `json:"problem,omitempty"`
	Running string `json:"running,omitempty"` // A or B; none when not booted from a slot
	Device  string `json:"device,omitempty"`  // of its partition
	Good    string `json:"good,omitempty"`    // is booted when nothing is armed
	Trial   string `json:"trial,omitempty"`   // is armed
	Tries   int    `json:"tries,omitempty"`   // that the armed slot still has
	// Generation grows with every change of the above, but not with the tries.
	Generation uint64 `json:"generation,omitempty"`
	// OnTrial: this boot is a try of the running slot. At Deadline, in seconds of
	// the boot clock, ksinit gives it up.
	OnTrial  bool     `json:"onTrial,omitempty"`
	Deadline float64  `json:"deadline,omitempty"`
	Passive  Passive  `json:"passive,omitzero"`
	Verdict  *Verdict `json:"verdict,omitempty"`
}

// Passive is the slot that does not run, and may be written.
type Passive struct {
	Slot   string `json:"slot"`
	Device string `json:"device"` // of the partition
	Size   int64  `json:"size"`   // bytes
}

// Verdict says how the last trial ended.
type Verdict struct {
	Slot   string    `json:"slot"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
	// Generation is that after the trial: one from before an update was armed
	// is of an earlier update.
	Generation uint64 `json:"generation"`
}

// MediumLabel is the volume label of a medium with updates.
const MediumLabel = "KSOLOUPDATE"

// Medium is the answer to VerbMedium; it is empty when there is none.
type Medium struct {
	Device    string `json:"device"`
	Directory string `json:"directory"` // where it is mounted, to be read only
}
