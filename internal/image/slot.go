package image

import (
	"context"
	"encoding/json"

	"kubesolo.io/os/internal/image/inputs"
	"kubesolo.io/os/internal/image/squashfs"
	"kubesolo.io/os/internal/image/tool"
	"kubesolo.io/os/internal/image/tree"
)

// SlotInfo is slot.json of a slot image.
type SlotInfo struct {
	Format       int                     `json:"format"` // 1
	Version      string                  `json:"version"`
	Build        string                  `json:"build"`
	Architecture string                  `json:"architecture"`
	Kernel       string                  `json:"kernel"` // release
	Epoch        int64                   `json:"sourceDateEpoch"`
	Files        map[string]inputs.Input `json:"files"`
}

// WriteSlot packs a kernel and an initramfs as the slot image out, and says in its
// slot.json what they are. Format and Files of info are filled in.
func WriteSlot(ctx context.Context, run *tool.Runner, out string, info SlotInfo, kernel, initramfs string) error {
	info.Format, info.Files = 1, map[string]inputs.Input{}
	t := tree.New()
	for name, file := range map[string]string{"vmlinuz": kernel, "kubesolo-os.gz": initramfs} {
		sum, size, err := inputs.HashFile(file)
		if err != nil {
			return err
		}
		info.Files[name] = inputs.Input{Name: name, Kind: "image", Origin: name, SHA256: sum, Size: size}
		content, err := tree.HostFile(file)
		if err != nil {
			return err
		}
		if err := t.File(name, 0o444, content, ""); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	if err := t.File("slot.json", 0o444, tree.Bytes(append(text, '\n')), ""); err != nil {
		return err
	}
	return squashfs.Pack(ctx, run, t, out, squashfs.Options{Stored: true})
}
