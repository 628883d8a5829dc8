// Package clocksync keeps the system clock right by asking time servers (SNTP,
// RFC 5905 in client mode).
//
// It owns the packet, the exchange, the choice among servers that disagree,
// the decision between slewing and stepping, and the few system calls that
// carry it out ([Kernel]). It never serves time, never blocks or ends for want
// of a network or an answer, and never sets the clock below a time known to be
// past. Small offsets are given to the kernel's own phase-locked loop, so the
// crystal's frequency error is learnt too.
//
// Tests: the packet is fuzzed, choice and decision are tables, the loop runs
// on simulated time (testing/synctest), the client asks real chrony servers,
// and the small VM tier sets the clock and the RTC of a machine that starts in
// 1970.
package clocksync
