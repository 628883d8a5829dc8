package datafs

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"
)

// TemplateSize is the size of the template file system: one ext4 block group.
const TemplateSize = 128 << 20

// DefaultTemplate is where the image keeps the template.
const DefaultTemplate = "/usr/share/kubesolo/data.ext4.gz"

// Label is the file system label and partition name of the data partition.
const Label = "KSOLODATA"

// TemplateUUID is the template's; each node gets a random one when it formats.
// It is also the seed of metadata checksums, which stays.
const TemplateUUID = "4b534f4c-4f44-4154-8141-000000000001"

// hashSeed of directories is no secret: whoever writes here is trusted.
const hashSeed = "4b534f4c-4f44-4154-8141-000000000002"

// TemplateCommand is the command that makes the template in file (which it
// creates), and what must be added to its environment. The same epoch gives the
// same bytes. It needs e2fsprogs 1.45 or later and no privileges.
func TemplateCommand(file string, epoch time.Time) (argv, env []string) {
	argv = []string{
		"mkfs.ext4", "-q", "-F",
		"-L", Label, "-U", TemplateUUID,
		"-b", "4096", "-I", "256", "-i", "16384",
		// Everything named, nothing from the build host's mke2fs.conf. No
		// orphan_file (Linux 5.15) so that older rescue systems can check it;
		// metadata_csum_seed lets the UUID change while mounted.
		"-O", "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
			"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed",
		// Room for group descriptors up to 8 TiB (1024 blocks is the most),
		// so that online growth stays in the cheap path.
		"-E", "resize=2147483648,hash_seed=" + hashSeed + ",root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard",
		// A fixed small journal: SD cards, and it is part of the template.
		"-J", "size=32",
		// 2 %: the kernel adds the floor of this percentage when it grows, and
		// 1 % of one group rounds down to 0.
		"-m", "2", "-e", "remount-ro",
		file, strconv.Itoa(TemplateSize>>10) + "k",
	}
	sec := strconv.FormatInt(epoch.Unix(), 10)
	return argv, []string{"MKE2FS_CONFIG=/dev/null", "MKE2FS_DEVICE_SECTSIZE=512", "E2FSPROGS_FAKE_TIME=" + sec, "SOURCE_DATE_EPOCH=" + sec, "LC_ALL=C"}
}

// The stream inside the gzip: magic, size of the device (uint64), records of
// offset (uint64), length (uint32) and that many bytes, a record of length 0
// whose offset field holds the number of records, and the CRC-32 of all before
// it. Integers are little-endian. The first block comes last.
const (
	templateMagic = "KSOLO-EXT4-1\n"
	blockSize     = 4096
	maxRecord     = 1 << 20
)

// EncodeTemplate writes the blocks of r that are not zero. The same input gives
// the same output.
func EncodeTemplate(r io.ReaderAt, size int64, w io.Writer) error {
	if size <= 0 || size%blockSize != 0 {
		return fmt.Errorf("template of %d bytes: want a multiple of %d", size, blockSize)
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	sum := crc32.NewIEEE()
	e := encoder{w: io.MultiWriter(z, sum)}
	e.write([]byte(templateMagic))
	e.number(uint64(size))
	if err := e.records(r, size); err != nil {
		return err
	}
	e.number(e.count)
	e.number32(0)
	crc := binary.LittleEndian.AppendUint32(nil, sum.Sum32())
	e.write(crc)
	return errors.Join(e.err, z.Close())
}

type encoder struct {
	w     io.Writer
	err   error
	count uint64
}

func (e *encoder) write(b []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
}

func (e *encoder) number(n uint64)   { e.write(binary.LittleEndian.AppendUint64(nil, n)) }
func (e *encoder) number32(n uint32) { e.write(binary.LittleEndian.AppendUint32(nil, n)) }

func (e *encoder) record(off int64, b []byte) {
	if len(b) > 0 {
		e.number(uint64(off))
		e.number32(uint32(len(b)))
		e.write(b)
		e.count++
	}
}

func (e *encoder) records(r io.ReaderAt, size int64) error {
	block := make([]byte, blockSize)
	var run []byte
	start := int64(0)
	for off := int64(blockSize); off < size; off += blockSize {
		if _, err := r.ReadAt(block, off); err != nil {
			return fmt.Errorf("template at %d: %w", off, err)
		}
		if isZero(block) || len(run) == maxRecord {
			e.record(start, run)
			run = run[:0]
		}
		if !isZero(block) {
			if len(run) == 0 {
				start = off
			}
			run = append(run, block...)
		}
	}
	e.record(start, run)
	if _, err := r.ReadAt(block, 0); err != nil {
		return fmt.Errorf("template at 0: %w", err)
	}
	e.record(0, block)
	return nil
}

func isZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// readTemplate calls size once, then put for each record in order. The slice is
// only valid during the call. It returns an error at the first thing that is
// not as EncodeTemplate writes it; a stream is only proven whole when nil comes
// back.
func readTemplate(r io.Reader, size func(int64) error, put func(off int64, b []byte) error) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	sum := crc32.NewIEEE()
	in := io.TeeReader(z, sum)
	head := make([]byte, len(templateMagic)+8)
	if _, err := io.ReadFull(in, head); err != nil {
		return err
	}
	if string(head[:len(templateMagic)]) != templateMagic {
		return errors.New("not a data template")
	}
	total := binary.LittleEndian.Uint64(head[len(templateMagic):])
	if total == 0 || total > 1<<40 || total%blockSize != 0 {
		return fmt.Errorf("size %d", total)
	}
	if err := size(int64(total)); err != nil {
		return err
	}
	buf := make([]byte, maxRecord)
	record := make([]byte, 12)
	for count := uint64(0); ; count++ {
		if _, err := io.ReadFull(in, record); err != nil {
			return noEOF(err)
		}
		off, n := binary.LittleEndian.Uint64(record), binary.LittleEndian.Uint32(record[8:])
		if n == 0 {
			if off != count {
				return fmt.Errorf("%d records, want %d", count, off)
			}
			break
		}
		if n > maxRecord || n%blockSize != 0 || off%blockSize != 0 || off > total || off+uint64(n) > total {
			return fmt.Errorf("record of %d bytes at %d", n, off)
		}
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return noEOF(err)
		}
		if err := put(int64(off), buf[:n]); err != nil {
			return err
		}
	}
	want := sum.Sum32()
	if _, err := io.ReadFull(z, record[:4]); err != nil {
		return noEOF(err)
	}
	if got := binary.LittleEndian.Uint32(record); got != want {
		return fmt.Errorf("checksum %08x, want %08x", got, want)
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
