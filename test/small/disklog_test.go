package small

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The log that QEMU's blklogwrites driver writes (the format of dm-log-writes,
// Linux Documentation/admin-guide/device-mapper/log-writes.rst): a superblock,
// then for each request a header of one sector and its data.
const (
	logMagic  = 0x6a736677736872
	logSector = 512
	logFlush  = 1 << 0
	logFUA    = 1 << 1
)

// request is one write, flush or both, in the order in which the disk did them.
// That a write alone is to be kept (FUA) does not count: QEMU says so of each write
// of a driver that knows no flush, and a disk with a cache gives the firmware, which
// has such a driver, no promise.
type request struct {
	at    int64 // bytes
	data  []byte
	flush bool
}

func readLog(t *testing.T, file string) []request {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	requests, err := parseLog(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return requests
}

func parseLog(r io.ReaderAt) ([]request, error) {
	var head [logSector]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	magic, count, sector := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[16:]), binary.LittleEndian.Uint32(head[24:])
	if magic != logMagic || sector != logSector {
		return nil, fmt.Errorf("magic %#x, sector size %d", magic, sector)
	}
	at := int64(logSector)
	var requests []request
	for range count {
		if _, err := r.ReadAt(head[:32], at); err != nil {
			return nil, err
		}
		at += logSector
		position, sectors, flags := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:]), binary.LittleEndian.Uint64(head[16:])
		if flags&^(logFlush|logFUA) != 0 || sectors > 1<<16 {
			return nil, fmt.Errorf("request %d: flags %#x, %d sectors", len(requests), flags, sectors)
		}
		req := request{at: int64(position) * logSector, data: make([]byte, sectors*logSector), flush: flags&logFlush != 0}
		if _, err := r.ReadAt(req.data, at); err != nil && len(req.data) > 0 {
			return nil, err
		}
		at += int64(len(req.data))
		requests = append(requests, req)
	}
	return requests, nil
}

// cut gives the disk as a power cut after the first n requests may leave it.
func cut(base []byte, requests []request, n int, random *rand.Rand) []byte {
	disk := append([]byte{}, base...)
	kept, _ := survivors(requests[:n], random)
	for _, r := range kept {
		copy(disk[min(r.at, int64(len(disk))):], r.data)
	}
	return disk
}

// survivors are the writes that a power cut after them may leave: all that was there
// at the last flush, and of each later write everything, nothing, or the sectors up
// to some point. It counts those that are not whole.
func survivors(requests []request, random *rand.Rand) (kept []request, lost int) {
	safe := 0
	for i, r := range requests {
		if r.flush {
			safe = i + 1
		}
	}
	for i, r := range requests {
		keep := len(r.data)
		if i >= safe {
			switch random.IntN(4) {
			case 0, 1:
				keep = 0
			case 2:
				keep = random.IntN(len(r.data)/logSector+1) * logSector
			}
		}
		if keep < len(r.data) {
			lost++
		}
		r.data = r.data[:keep]
		kept = append(kept, r)
	}
	return kept, lost
}

// writeSparse writes what is not zero.
func writeSparse(t *testing.T, file string, disk []byte) {
	t.Helper()
	sparse(t, file, int64(len(disk)))
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const block = 64 << 10
	zero := make([]byte, block)
	for at := 0; at < len(disk); at += block {
		part := disk[at:min(at+block, len(disk))]
		if string(part) == string(zero[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

// The log of the real driver, without a machine around it.
func TestReadLog(t *testing.T) {
	dir := t.TempDir()
	disk, log := sparse(t, filepath.Join(dir, "disk"), 1<<20), sparse(t, filepath.Join(dir, "log"), 0)
	run(t, dir, "qemu-io", "--image-opts", "driver=blklogwrites,file.driver=file,file.filename="+disk+
		",log.driver=file,log.filename="+log+",log-sector-size=512,log-super-update-interval=1",
		"-c", "write -P 0x61 0 1k", "-c", "flush", "-c", "write -P 0x62 4k 512", "-c", "write -P 0x64 64k 512")
	var got []string
	for _, r := range readLog(t, log) {
		got = append(got, fmt.Sprintf("%d:%d:%.1s:%t", r.at, len(r.data), r.data, r.flush))
	}
	// Closing the disk flushes it once more.
	want := "0:1024:a:false 0:0::true 4096:512:b:false 65536:512:d:false"
	if text := strings.Join(got, " "); !strings.HasPrefix(text, want) {
		t.Errorf("read %s, want %s", text, want)
	}
}

func FuzzParseLog(f *testing.F) {
	head := make([]byte, logSector)
	binary.LittleEndian.PutUint64(head, logMagic)
	binary.LittleEndian.PutUint64(head[16:], 1)
	binary.LittleEndian.PutUint32(head[24:], logSector)
	f.Add(append(head, make([]byte, logSector)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		requests, err := parseLog(bytes.NewReader(b))
		if err == nil && len(b) < logSector*(1+len(requests)) {
			t.Errorf("%d requests in %d bytes", len(requests), len(b))
		}
	})
}

func TestCutKeepsWhatWasFlushed(t *testing.T) {
	sectorOf := func(b byte) []byte {
		data := make([]byte, 2*logSector)
		for i := range data {
			data[i] = b
		}
		return data
	}
	requests := []request{{at: 0, data: sectorOf('a')}, {flush: true}, {at: 1024, data: sectorOf('b')}, {at: 2048, data: sectorOf('c')}}
	outcomes := map[string]bool{}
	for seed := range uint64(200) {
		disk := cut(make([]byte, 4096), requests, 4, rand.New(rand.NewPCG(seed, 0)))
		if disk[0] != 'a' || disk[1023] != 'a' {
			t.Fatal("a flushed write was lost")
		}
		outcomes[string([]byte{disk[1024], disk[1536], disk[2048], disk[2560]})] = true
	}
	for _, want := range []string{"\x00\x00\x00\x00", "bbcc", "\x00\x00cc", "bb\x00\x00", "b\x00cc"} {
		if !outcomes[want] {
			t.Errorf("no cut left %q", want)
		}
	}
}
