package vmtest

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// AccelEnv overrides the accelerator: "kvm" or "tcg".
const AccelEnv = "KS_ACCEL"

// probeLimit is long for KVM, which boots a kernel in about a second, and
// short for a person who waits.
const probeLimit = 10 * time.Second

func accelArgs(accel string) []string {
	if accel == "kvm" {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	// The first of the x86-64 processors. What newer ones have costs the emulator more
	// than it brings: a node was Ready after 69 s, and after 77 s with -cpu max.
	return []string{"-accel", "tcg,thread=multi", "-cpu", "qemu64"}
}

// SettleAccelerator has all machines of this process, and of those that it starts,
// use what Accelerator chooses now. A KVM that hangs costs each probe its limit:
// the small tier's forty boots once spent six minutes on that alone.
func SettleAccelerator(ctx context.Context, kernel string) error {
	return os.Setenv(AccelEnv, Accelerator(ctx, kernel))
}

// Accelerator chooses "kvm" or "tcg". That /dev/kvm is there proves little:
// there are machines on which it aborts QEMU (MSR 0x10a) or hangs in the
// guest. So a kernel is booted with it, to the panic for want of a root file
// system, which panic=-1 turns into a reset and -no-reboot into an exit.
func Accelerator(ctx context.Context, kernel string) string {
	if a := os.Getenv(AccelEnv); a == "kvm" || a == "tcg" {
		return a
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return "tcg"
	} else {
		f.Close()
	}
	if kernel == "" {
		return "tcg"
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	args := append(accelArgs("kvm"), "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", "q35", "-m", "512", "-no-reboot", "-serial", "stdio",
		"-kernel", kernel, "-append", "console=ttyS0 panic=-1")
	var out strings.Builder
	cmd := exec.CommandContext(ctx, qemuBinary, args...)
	cmd.Stdout = &out
	cmd.Stderr = io.Discard
	err := cmd.Run()
	if err == nil && strings.Contains(out.String(), "Kernel panic") {
		return "kvm"
	}
	return "tcg"
}
