package gpt

import (
	"encoding/binary"
	"hash/crc32"
)

// fixChecksums makes mutated headers get past the checksums, where the
// interesting code is.
func fixChecksums(b []byte) {
	le := binary.LittleEndian
	h := b[512:1024]
	copy(h, signature)
	le.PutUint32(h[12:], headerSize)
	n := int(le.Uint32(h[80:])) * int(le.Uint32(h[84:]))
	at := int(min(le.Uint64(h[72:]), 1<<20)) * 512
	if n >= 0 && at+n <= len(b) && n <= len(b) {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(b[at:at+n]))
	}
	clear(h[16:20])
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerSize]))
}
