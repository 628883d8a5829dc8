// Package cloudinit turns a "#cloud-config" document into a [config.Part].
//
// It owns the schema: which keys there are, their types, and what to say when
// a document does not keep to it. [Parse] is pure, bounded in time and memory,
// and never stops at the first mistake. It never reads files and never prints
// the value of a secret.
//
// Tests: golden files in testdata (document, then messages), and a fuzz target.
package cloudinit
