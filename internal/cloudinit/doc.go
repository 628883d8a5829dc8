// Package cloudinit turns the documents of cloud-init ("#cloud-config", and the
// network-config and meta-data of a NoCloud volume) into a [config.Part].
//
// It owns the schema: which keys there are, their types, and what to say when
// a document does not keep to it. [Parse] is pure, bounded in time and memory,
// and never stops at the first mistake. It never reads files and never prints
// the value of a secret.
//
// Tests: golden files in testdata (document, then messages), a fuzz target, and
// the examples of docs/examples against parser and published schema.
package cloudinit
