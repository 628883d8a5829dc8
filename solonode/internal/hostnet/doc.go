// Package hostnet owns what the node needs of the host's network: the choice
// of its address, the CNI configuration, forwarding and the masquerading of
// pod traffic. The configuration of links, routes and name servers is PID 1's.
//
// Choices are pure functions over a snapshot of the links; the kernel is
// touched by Snapshot, Adopt, Masquerade and Sysctls only.
package hostnet
