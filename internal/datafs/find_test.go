package datafs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"kubesolo.io/os/internal/nstest"
)

// A blank disk is there long before the labelled one, whose driver is slow: it
// is left alone.
func TestBlankDiskWaitsForDrivers(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	m := newMachine(t)
	labelled := m.disk("vda", false, nil)
	m.prepare()
	m.unmount()
	if err := os.RemoveAll(filepath.Join(m.opts.Sysfs, "class/block/vda")); err != nil {
		t.Fatal(err)
	}
	blank := m.disk("vdb", false, nil)
	before := stamp(t, blank)
	drivers := make(chan struct{})
	m.opts.Drivers = drivers
	// Longer than the wait for a labelled disk takes when all drivers are there.
	time.AfterFunc(2*settle, func() {
		m.attach("vdc", labelled, false)
		close(drivers)
	})
	if res := m.prepare(); res.State != Mounted || res.Formatted || filepath.Base(res.Device) != "vdc" {
		t.Errorf("%+v", res)
	}
	if after := stamp(t, blank); after != before {
		t.Errorf("the blank disk was written: %s, then %s", before, after)
	}
}
