package tuning

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Settle trades speed for memory once the node is up. Start-up runs with a
// high collector percentage, because collecting a growing heap often costs
// boot time; an idle node allocates little, so a low one costs nothing. What
// start-up alone needed, heap and program pages, goes back to the kernel.
func (m Memory) Settle() error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(m.IdlePercent)
	}
	debug.FreeOSMemory()
	return dropProgramPages()
}

// dropProgramPages unmaps the resident pages of the program's own file. They
// stay in the page cache, and those in use come back by minor faults; the rest
// (initialisation of a 130 MB program) no longer counts as ours and is the
// kernel's to reuse.
func dropProgramPages() error {
	executable, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for _, area := range ReadOnlyAreas(maps, executable) {
		memory := unsafe.Slice((*byte)(area.start()), area.Length)
		if err := unix.Madvise(memory, unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("madvise %x: %w", area.Start, err)
		}
	}
	return nil
}

// Area is a mapped range of addresses.
type Area struct {
	Start, Length uintptr
}

// start makes a pointer of an address from /proc/self/maps: memory the kernel
// mapped, which the collector neither owns nor moves.
func (area Area) start() unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&area.Start)) }

// ReadOnlyAreas finds the mappings of file in the text of /proc/PID/maps that
// cannot be written: only those can be dropped without losing data.
func ReadOnlyAreas(maps []byte, file string) []Area {
	var areas []Area
	scanner := bufio.NewScanner(bytes.NewReader(maps))
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) != 6 || fields[5] != file || strings.Contains(fields[1], "w") {
			continue
		}
		low, high, _ := strings.Cut(fields[0], "-")
		start, errLow := strconv.ParseUint(low, 16, 64)
		end, errHigh := strconv.ParseUint(high, 16, 64)
		if errLow == nil && errHigh == nil && end > start {
			areas = append(areas, Area{Start: uintptr(start), Length: uintptr(end - start)})
		}
	}
	return areas
}
