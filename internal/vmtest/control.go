package vmtest

import "context"

// CtrlAltDelete presses the three keys: the guest's init gets SIGINT.
func (v *VM) CtrlAltDelete(ctx context.Context) error {
	return v.qmp.keys(ctx, "ctrl", "alt", "delete")
}

// PowerButton presses the ACPI power button.
func (v *VM) PowerButton(ctx context.Context) error {
	return v.qmp.do(ctx, "system_powerdown", nil, nil)
}

// Reset is the reset button: no warning to the guest. Without Config.Reboots
// it ends the machine.
func (v *VM) Reset(ctx context.Context) error {
	return v.qmp.do(ctx, "system_reset", nil, nil)
}

// EndAtReboot makes the guest's next reboot the machine's end, whatever
// Config.Reboots said.
func (v *VM) EndAtReboot(ctx context.Context) error {
	return v.qmp.do(ctx, "set-action", map[string]any{"reboot": "shutdown"}, nil)
}

// SetLink plugs the network cable in or out.
func (v *VM) SetLink(ctx context.Context, up bool) error {
	return v.qmp.do(ctx, "set_link", map[string]any{"name": "nic0", "up": up}, nil)
}

// Unplug asks the guest to let go of a device: "nic0", or "dev0" for the first
// disk.
func (v *VM) Unplug(ctx context.Context, device string) error {
	return v.qmp.do(ctx, "device_del", map[string]any{"id": device}, nil)
}

// PlugEvents adds the port that Config.LateEvents held back.
func (v *VM) PlugEvents(ctx context.Context) error {
	return v.qmp.do(ctx, "device_add", map[string]any{"driver": "virtserialport", "chardev": "port0", "name": EventsPort}, nil)
}

// Forwarded gives the port on 127.0.0.1 that leads to the guest's TCP port.
func (v *VM) Forwarded(ctx context.Context, guest int) (int, error) {
	var text string
	if err := v.qmp.do(ctx, "human-monitor-command", map[string]any{"command-line": "info usernet"}, &text); err != nil {
		return 0, err
	}
	return forwarded(text, guest)
}
