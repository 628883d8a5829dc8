// Package house holds the tests that keep the whole tree to its own rules:
// the layers of docs/adr/0005, a package doc everywhere, files of at most 400
// lines, no init functions, no package-level state, and nothing left open.
//
// It owns no code that ships. It is tested by being run on this tree, and by
// cases that must be refused.
package house
