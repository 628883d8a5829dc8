// Package trust says which updates a node may believe: it is the client side of The
// Update Framework (TUF, specification 1.0.31) over the metadata types of go-tuf.
//
// It owns the trusted metadata of the node (a directory on the data partition), the
// walk root, timestamp, snapshot, targets, and the choice among the targets. It never
// reads a target file, never writes outside its directory, and opens no connection:
// bytes come from a source.Source.
//
// # What is believed
//
// Trust begins at the root that is part of the image, each time: N+1.root.json is
// believed because N.root.json's keys signed it. What lies on the data partition adds no
// trust, it only takes away: no version that was seen there and is still intact is ever
// followed by a lower one. A file that is damaged there is as if it were not there, and
// is fetched again; of a damaged root the name still counts, so that a repository that
// lacks this root is refused. Files are kept by repository (the name that all roots of
// one repository share), so an image of another publisher starts anew.
//
// # Time
//
// Metadata expires by the later of the clock and the floor, a time that is surely past
// (the build time of the image). ksinit never lets the clock show less than that or than
// the last time this machine knew, so a machine without a battery judges by a time that
// is too early at most: it may believe metadata that expired meanwhile, as long as it is
// no older than what was seen before. It never refuses good metadata because of a clock
// that is not set yet.
//
// Tested with repositories made by go-tuf in memory: each kind of bad metadata, roots
// over several rotations, every damaged file of the directory; all parsers are fuzzed.
package trust
