// Package kmod loads kernel modules: it reads the files depmod(8) writes
// (modules.dep, modules.alias, modules.softdep, modules.builtin and its
// modinfo), resolves names, aliases and dependencies, and calls finit_module(2).
// It also loads what the present hardware asks for (Coldplug) and what appears
// later (Watch), and is the modprobe of the system (Modprobe).
//
// It never unpacks a compressed module (the kernel does, where it can), never
// unloads one and reads no configuration files: parameters come from its caller
// and from the kernel command line.
//
// Parsing, matching and the load order are pure and tested with a small tree in
// testdata; the system call is behind one field and is tested for real in the
// VM tier, with the modules of the image.
package kmod
