package clocksync

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// packetSize is the header without extension fields and MAC (RFC 5905 §7.3).
const packetSize = 48

// epochOffset is the number of seconds from 1900 to 1970.
const epochOffset = 2_208_988_800

// Modes and leap indicator (RFC 5905 §7.3).
const (
	modeClient = 3
	modeServer = 4
	leapAlarm  = 3
)

// maxDistance is how far a server may be from its own reference clock: half
// its root delay plus its root dispersion. RFC 5905 says 1 s; 1.5 s is what
// the reference implementation came to.
const maxDistance = 1500 * time.Millisecond

// stamp is an NTP timestamp: seconds since 1900 modulo 2^32 in the upper half,
// the fraction in the lower. The wall clock of eras is not in it.
type stamp uint64

func makeStamp(t time.Time) stamp {
	seconds := uint64(t.Unix() + epochOffset)
	return stamp(seconds<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second))
}

// near gives the time that s stands for and that is nearest to pivot: 68 years
// before it to 68 years after it.
func (s stamp) near(pivot time.Time) time.Time {
	// The difference of two stamps is right in any era (RFC 5905 §6).
	difference := int64(s - makeStamp(pivot))
	seconds, fraction := difference>>32, uint64(difference)&0xffffffff
	return pivot.Add(time.Duration(seconds) * time.Second).Add(time.Duration(fraction * uint64(time.Second) >> 32))
}

// packet is the header of an NTP message.
type packet struct {
	leap, version, mode uint8
	stratum             uint8
	poll, precision     int8
	rootDelay           time.Duration // to the primary source and back
	rootDispersion      time.Duration
	reference           [4]byte // kiss code when stratum is 0
	updated             stamp
	origin              stamp // what the client sent as transmit
	receive, transmit   stamp
}

// decode reads a header; what follows it is ignored.
func decode(b []byte) (packet, error) {
	if len(b) < packetSize {
		return packet{}, fmt.Errorf("%d bytes are no time message, which has %d", len(b), packetSize)
	}
	return packet{
		leap: b[0] >> 6, version: b[0] >> 3 & 7, mode: b[0] & 7,
		stratum: b[1], poll: int8(b[2]), precision: int8(b[3]),
		rootDelay: fromShort(b[4:]), rootDispersion: fromShort(b[8:]), reference: [4]byte(b[12:]),
		updated: fromStamp(b[16:]), origin: fromStamp(b[24:]), receive: fromStamp(b[32:]), transmit: fromStamp(b[40:]),
	}, nil
}

// request is a client's message. It says nothing of the client: the only field
// with content is a random number that the answer has to repeat.
func request(cookie stamp) []byte {
	b := make([]byte, packetSize)
	b[0] = 4<<3 | modeClient
	binary.BigEndian.PutUint64(b[40:], uint64(cookie))
	return b
}

func fromStamp(b []byte) stamp { return stamp(binary.BigEndian.Uint64(b)) }

// fromShort reads the short format: 16 bits of seconds, 16 of fraction.
func fromShort(b []byte) time.Duration {
	return time.Duration(uint64(binary.BigEndian.Uint32(b)) * uint64(time.Second) >> 16)
}

// KissError is a server's word that it does not want to be asked (RFC 5905
// §7.4): RATE for not so often; DENY and RSTR for not at all.
type KissError struct{ Code string }

func (e KissError) Error() string {
	switch e.Code {
	case "RATE":
		return "the server wants to be asked less often (kiss code RATE)"
	case "DENY", "RSTR":
		return "the server refuses to answer (kiss code " + e.Code + ")"
	}
	return fmt.Sprintf("the server has no time to give (kiss code %q)", e.Code)
}

// errNotOurs marks a message that is no answer to our request. It is not the
// server's fault: anybody can send one.
var errNotOurs = errors.New("not an answer to this request")

// check tells whether p is a usable answer to the request with that cookie.
// The cookie comes first: a forged kiss code must not silence a server.
func (p packet) check(cookie stamp) error {
	switch {
	case p.mode != modeServer, p.origin != cookie:
		return errNotOurs
	case p.version != 3 && p.version != 4:
		return fmt.Errorf("protocol version %d, not 3 or 4", p.version)
	case p.stratum == 0:
		return KissError{kissCode(p.reference)}
	case p.leap == leapAlarm, p.stratum > 15:
		return errors.New("the server is not synchronised itself")
	case p.receive == 0, p.transmit == 0:
		return errors.New("the answer has no time in it")
	case int64(p.transmit-p.receive) < 0:
		return errors.New("the server's clock went back while it answered")
	}
	if d := p.distance(); d > maxDistance {
		return fmt.Errorf("the server may be wrong by %v, more than %v", d, maxDistance)
	}
	return nil
}

// kissCode drops what could not be shown in a log.
func kissCode(b [4]byte) string {
	for _, c := range b {
		if c < 'A' || c > 'Z' {
			return ""
		}
	}
	return string(b[:])
}

// distance is how far the server may be from the true time.
func (p packet) distance() time.Duration { return p.rootDelay/2 + p.rootDispersion }
