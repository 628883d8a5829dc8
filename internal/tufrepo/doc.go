// Package tufrepo makes what nodes update from: keys, and repositories signed with them
// (TUF with consistent snapshots, over the metadata types of go-tuf).
//
// It owns two directories. A key directory holds the private keys (ed25519, PEM PKCS #8,
// mode 0600, named role-ID.pem) and every root so far (N.root.json); private keys may also
// lie elsewhere, as on the sticks of their keepers. A repository holds
//
//	metadata/N.root.json N.targets.json N.snapshot.json timestamp.json
//	targets/<sha256>.kubesolo-os-VERSION-ARCH.slot
//
// and can be served, copied to a stick or pushed to a registry as it is. Nothing that was
// published is changed: each state has new files, and timestamp.json, replaced after them
// and at once, says which count. What is in the repository is signed again only after its own
// signature was checked. Key files are never overwritten nor removed.
//
// The same keys, inputs and time give the same bytes. It never runs on a node. Tested with
// the node's own client (package trust), from the first root on, also in the middle of each
// write.
package tufrepo

import "time"

// Expiry says for how long each role's signature is good.
type Expiry struct{ Root, Targets, Snapshot, Timestamp time.Duration }

const day = 24 * time.Hour

// DefaultExpiry suits a few people who release a few times a year, and sites that are
// reached by post.
//
// Timestamp and snapshot are signed by one job: they live for 30 days, because a stick may
// be on its way for weeks, and a job that runs every week may fail three times. In return
// somebody between node and repository can hold a release back for 30 days, which is the
// price of the stick; 3 days would be usual for sites with a network. Targets live for
// half a year, a release at least. The root lives for a year: whoever keeps a key of it
// must find it once a year, and that is the only proof that it is not lost. Nodes that
// were in a store for longer than that walk through all later roots, whatever has expired
// meanwhile.
func DefaultExpiry() Expiry {
	return Expiry{Root: 365 * day, Targets: 180 * day, Snapshot: 30 * day, Timestamp: 30 * day}
}
