package guest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// Repair checks an ext4 as cmd/ksinit does, with the /e2fsck of the initramfs.
func Repair(ctx context.Context, device string) (string, error) {
	text, err := exec.CommandContext(ctx, "/e2fsck", "-fp", device).CombinedOutput()
	// Statuses 1 and 2 are good news, see e2fsck(8).
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode()&^3 == 0 {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("e2fsck: %w: %s", err, text)
	}
	return "e2fsck -fp repaired it", nil
}
