// Package blockdev finds disks and partitions: it scans /sys/class/block, reads
// what is on each device (file systems, containers, partition tables), resolves
// what kubesolo.data= and its like name, and waits for devices that come late.
// It also has the few ioctls that growing a partition needs.
//
// It never writes to a device.
//
// Every parser is a pure function over io.ReaderAt with a fuzz test; mkfs
// programs make the images that the tests recognise.
package blockdev
