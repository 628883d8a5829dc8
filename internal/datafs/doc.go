// Package datafs brings up the data partition: it finds it, formats it from a
// template when it is empty and ours, grows partition and file system to the
// size of the disk, and mounts it. Where that cannot be done it mounts memory
// instead, says why, and the node runs without persistence.
//
// It never writes to a device that holds, or may hold, anything of somebody
// else: only to a partition or disk that is named by kubesolo.data=, a partition
// named KSOLODATA, or the one blank disk of the machine, and only when the area
// of the template and the last MiB are zero. It repairs nothing itself: the caller may bring a
// program for that.
//
// # Formatting and power cuts
//
// The template is a small ext4 made at build time; the node has no mkfs.
// Format writes, with a sync after each:
//
//  1. a marker in the first 512 bytes, which ext4 leaves to boot loaders
//  2. all blocks of the template but the first
//  3. the rest of the first block: the superblock; the marker stays
//  4. zeros over the marker
//
// A device with a marker has never been mounted, so it is formatted again, with
// every hole of the template zeroed. A marker that was cut in the middle is a
// blank device but for that text. After step 3 and any part of step 4 the file
// system is complete. Tests cut the power after every sector.
//
// The results are judged by e2fsck. Growing and mounting run in a mount
// namespace and, where they need privileges a build machine lacks, in the VM tier.
package datafs
