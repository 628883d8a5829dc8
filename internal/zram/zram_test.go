package zram_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kubesolo.io/os/internal/nstest"
	"kubesolo.io/os/internal/zram"
)

func TestSize(t *testing.T) {
	const mib = 1 << 20
	for memory, want := range map[int64]int64{
		460 * mib: 230 * mib, 985*mib + 4096: 492 * mib, 2048 * mib: 1024 * mib, 2049 * mib: 0, 64 << 30: 0,
	} {
		if got := zram.Size(memory); got != want {
			t.Errorf("%d MiB: %d, want %d", memory/mib, got, want)
		}
	}
}

// Who reads swap areas elsewhere finds one.
func TestHeaderIsMkswaps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "area")
	if err := os.WriteFile(file, append(zram.Header(1<<20, 4096), make([]byte, 1<<20-4096)...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/sbin/blkid", "-p", "-o", "export", file).CombinedOutput()
	for _, want := range []string{"LABEL=ksolo-zram", "TYPE=swap", "VERSION=1"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("no %s: %v\n%s", want, err, out)
		}
	}
}

func TestVMSwap(t *testing.T) {
	nstest.Require(t, nstest.VM)
	if err := zram.Start("/sys", "/dev", "zram0", 64<<20); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/swaps")
	if fields := strings.Fields(string(text)); err != nil || len(fields) < 10 ||
		fields[5] != "/dev/zram0" || fields[7] != "65532" || fields[9] != "32767" {
		t.Errorf("%v in\n%s", err, text)
	}
	if err := zram.Start("/sys", "/dev", "zram0", 64<<20); !errors.Is(err, zram.ErrInUse) {
		t.Errorf("a second time: %v", err)
	}
	if err := zram.Start("/sys", "/dev", "zram9", 64<<20); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a device that is not there: %v", err)
	}
}
