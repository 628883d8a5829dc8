// Package control is the local socket of ksinit, on which the node's operator
// asks and orders: its protocol, its server and its client. ksagent has one of
// the same kind, for what is asked of updates.
//
// It owns the form of a request and of a reply, the limits of a connection, and
// State, the picture of the node that the events of its boot add up to. What is
// answered is the business of whoever hands Serve a Handler. It never blocks
// the one it serves: connections, their requests and the time of a write are
// bounded, and who does not read is cut off. There is no authentication but
// the file's mode (0600, root): it is a socket of the machine itself, and no
// network reaches it.
//
// One request a connection, as one line of JSON; replies are lines of JSON, the
// last of which says that it is the last:
//
//	{"verb":"restart","service":"ksagent"}
//	{"data":"ksagent: SIGTERM to pid 312"}
//	{"end":true}
//
// Tests: State by lists of events, the decoder by fuzzing, server and client
// over real sockets, all of it in ksinit as PID 1 of a PID namespace.
package control
