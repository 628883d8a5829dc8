package tuning

import (
	"os"
	"slices"
	"testing"
)

func TestForMachine(t *testing.T) {
	tests := map[int64]Memory{
		512 << 20: {StartPercent: 40, IdlePercent: 25, Limit: 176 << 20},
		1 << 30:   {StartPercent: 40, IdlePercent: 25, Limit: 256 << 20},
		2 << 30:   {StartPercent: 40, IdlePercent: 25, Limit: 512 << 20},
		16 << 30:  {StartPercent: 100, IdlePercent: 50, Limit: 4 << 30},
	}
	for total, want := range tests {
		if got := ForMachine(total); got != want {
			t.Errorf("%d MiB: got %+v, want %+v", total>>20, got, want)
		}
	}
}

func TestMachineMemory(t *testing.T) {
	const meminfo = "MemTotal:        1018644 kB\nMemFree: 1 kB\n"
	tests := []struct {
		meminfo, limit string
		want           int64
	}{
		{meminfo, "", 1018644 << 10},
		{meminfo, "max\n", 1018644 << 10},
		{meminfo, "268435456\n", 268435456},
		{"", "", 512 << 20},
		{"MemTotal: none\n", "-1", 512 << 20},
	}
	for _, test := range tests {
		if got := MachineMemory(test.meminfo, test.limit); got != test.want {
			t.Errorf("%q with limit %q: got %d, want %d", test.meminfo, test.limit, got, test.want)
		}
	}
}

func TestReadOnlyAreas(t *testing.T) {
	const maps = `00400000-00500000 r-xp 00000000 00:1f 42 /usr/bin/x
00500000-00510000 r--p 00100000 00:1f 42 /usr/bin/x
00510000-00520000 rw-p 00110000 00:1f 42 /usr/bin/x
c000000000-c000400000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r-xp 00000000 00:1f 43 /usr/lib/y
broken
`
	want := []Area{{0x400000, 0x100000}, {0x500000, 0x10000}}
	if got := ReadOnlyAreas([]byte(maps), "/usr/bin/x"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// The program must survive losing its own pages: they come back from its file.
func TestSettleOnItself(t *testing.T) {
	executable, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if len(ReadOnlyAreas(maps, executable)) == 0 {
		t.Fatal("no areas of the test program found")
	}
	if err := (Memory{IdlePercent: 100}).Settle(); err != nil {
		t.Fatal(err)
	}
}

func FuzzReadOnlyAreas(f *testing.F) {
	f.Add("00400000-00500000 r-xp 00000000 00:1f 42 x\n")
	f.Add("ff-0 r--p 0 0 0 x")
	f.Fuzz(func(t *testing.T, maps string) {
		for _, area := range ReadOnlyAreas([]byte(maps), "x") {
			if area.Length == 0 {
				t.Errorf("empty area %x", area.Start)
			}
		}
	})
}
