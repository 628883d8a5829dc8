// Package statecopy keeps copies of the control plane's database: who makes
// them, when, how many, and the command `kubesolo state` that lists, checks and
// brings them back.
//
// A copy is made by the process that has the database open (VACUUM INTO over
// one more connection of its pool): one consistent state, without stopping
// anything, and without pages that are free. It is checked before it gets its
// name; the name is given when the content is on the medium.
//
// The running process takes requests on a Unix socket of root. Without it the
// command works on the files.
//
// Names, schedule and room are tested as functions of their arguments, copies
// with a real database, the socket with the command at its other end.
package statecopy
