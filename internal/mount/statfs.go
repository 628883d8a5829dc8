package mount

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Usage is the space of a file system in bytes. Available is what a process
// without privilege may use: Free less the reserved blocks.
type Usage struct {
	Total, Free, Available uint64
	Inodes, InodesFree     uint64
	ReadOnly               bool
}

// UsageOf asks the file system that path is on.
func UsageOf(path string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Usage{}, fmt.Errorf("space of %s: %w", path, err)
	}
	block := uint64(st.Frsize)
	if block == 0 {
		block = uint64(st.Bsize)
	}
	return Usage{
		Total: st.Blocks * block, Free: st.Bfree * block, Available: st.Bavail * block,
		Inodes: st.Files, InodesFree: st.Ffree,
		ReadOnly: st.Flags&unix.ST_RDONLY != 0,
	}, nil
}
