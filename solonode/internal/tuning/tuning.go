// Package tuning owns what the process does to itself: garbage collection by
// the size of the machine, log verbosity of the embedded components, and the
// handling of their fatal log calls.
//
// It changes process-wide state and is called once, by main. The arithmetic is
// pure and tested by table.
package tuning

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

const mib = 1 << 20

// Memory is the garbage collector's setting.
type Memory struct {
	StartPercent int   // GOGC while the node starts
	IdlePercent  int   // GOGC afterwards
	Limit        int64 // GOMEMLIMIT in bytes
}

// ForMachine chooses by the machine's memory in bytes. The live heap of an
// idle control plane is about 55 MiB and does not depend on the machine, and
// the OpenAPI documents add 27 MiB while somebody reads them, so the limit is a
// share of the memory with a floor that leaves the collector room: below it,
// collections would follow each other without end.
//
// A low percentage during the start keeps the heap from being scattered, which
// no later collection mends: 40 instead of 100 left 14 MB less resident for good
// and a node Ready 1.7 s later (34.0 s, emulated, docs/adr/0011). Only large
// machines save that time.
func ForMachine(total int64) Memory {
	memory := Memory{StartPercent: 40, IdlePercent: 25, Limit: max(total/4, 176*mib)}
	if total > 7000*mib {
		memory.StartPercent, memory.IdlePercent = 100, 50
	}
	return memory
}

// Apply sets what m says for the start, unless the operator set GOGC or
// GOMEMLIMIT. Huge pages are switched off: they make thousands of
// half-used stacks and spans resident as a whole.
func (m Memory) Apply() string {
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		klog.V(1).InfoS("huge pages stay on", "err", err)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(m.StartPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(m.Limit)
	}
	return fmt.Sprintf("gc percent %d, then %d, memory limit %d MiB", m.StartPercent, m.IdlePercent, m.Limit/mib)
}

// MachineMemory is MemTotal of /proc/meminfo in bytes, or of the process's
// cgroup when that is smaller (cgroup v2 memory.max).
func MachineMemory(meminfo, cgroupMax string) int64 {
	total := int64(512 * mib)
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil && kib > 0 {
				total = kib << 10
			}
		}
	}
	if limit, err := strconv.ParseInt(strings.TrimSpace(cgroupMax), 10, 64); err == nil && limit > 0 {
		total = min(total, limit)
	}
	return total
}

// Logs sets the verbosity of the embedded components. Everything goes to
// standard error.
func Logs(verbose bool) error {
	level, threshold := "0", "ERROR"
	logrus.SetLevel(logrus.WarnLevel)
	if verbose {
		level, threshold = "2", "INFO"
		logrus.SetLevel(logrus.InfoLevel)
	}
	logrus.SetOutput(os.Stderr)
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	klog.InitFlags(flags)
	settings := map[string]string{"v": level, "logtostderr": "true"}
	if !verbose {
		// klog filters by severity only when it writes through its own
		// threshold, so quiet mode takes that path.
		settings = map[string]string{"v": level, "logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": threshold}
		klog.SetOutput(io.Discard)
	}
	for name, value := range settings {
		if err := flags.Set(name, value); err != nil {
			return fmt.Errorf("log setting %s=%s: %w", name, value, err)
		}
	}
	return nil
}

// CatchFatal turns a component's fatal log call into an error on the returned
// channel: the calling goroutine ends, and the node stops in order.
func CatchFatal() <-chan error {
	fatal := make(chan error, 1)
	klog.OsExit = func(code int) {
		select {
		case fatal <- fmt.Errorf("fatal log call with exit code %d, see the line before", code):
		default:
		}
		runtime.Goexit()
	}
	return fatal
}
