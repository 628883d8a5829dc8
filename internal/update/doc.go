// Package update takes a node from one version of the system to another, and
// back by itself when the other does not do.
//
// It owns the state of an update over restarts (State, its transitions pure), what
// to do with what a boot finds (Resume, pure), the verdict on a trial (Trial,
// pure), and the engine that carries it out with the packages below it: policy
// (may it be now), trust (what may it be), source (where from), fetch (into the
// passive slot). It never writes the environment block, which is ksinit's, never
// touches GRUB or the running slot, and asks nobody once an update is armed: a
// trial that nobody judges ends by ksinit's deadline.
//
// Tests: the pure parts by tables and by walking all states; the engine against a
// real repository over HTTP; the whole by power cuts in small virtual machines
// and by updates of the shipped image.
package update
