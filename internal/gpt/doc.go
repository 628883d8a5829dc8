// Package gpt reads, builds, repairs and grows GUID partition tables (UEFI
// specification 2.10, chapter 5) over io.ReaderAt and io.WriterAt. The node
// grows its data partition with it, ksimage writes the disk image with it.
//
// It never opens a device and never tells the kernel about a change. Sector
// sizes from 512 to 4096 bytes are supported.
//
// Every write goes to one copy of the table at a time, with a sync between, so
// that a power cut leaves at least one valid copy: tests cut after each write.
// The tables it writes are judged by sfdisk and sgdisk; the reader is fuzzed.
package gpt
