// Package options owns the command line and the environment of KubeSolo
// v1.2.0: every documented flag, its KUBESOLO_* twin, its default and its
// check. It never touches the system: Parse is a function of its arguments.
//
// Precedence, low to high: default, environment, flag. An unknown flag or a
// positional argument is an error; an unknown environment variable is ignored,
// as upstream does. A value that cannot be used is an error that names the
// flag, with one exception kept from upstream: a bad node IP is a notice and
// the address is chosen automatically.
//
// Tested by table in options_test.go.
package options
