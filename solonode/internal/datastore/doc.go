// Package datastore serves the etcd API from a SQLite file with kine, on a
// Unix socket that only root can open. Upstream listens on 127.0.0.1:2379
// without authentication, where every pod in the host network can read all
// Secrets.
//
// Durability: a write is answered when it is on the medium. SQLite runs in WAL
// mode with synchronous=NORMAL, which orders what it writes but leaves the last
// commits to the page cache; each answer then waits for one fdatasync of the
// log that began after its commit. Requests that arrive together share it.
// synchronous=FULL gives the same promise with a sync for every commit, inside
// SQLite's write lock.
//
// A reader may see a write shortly before it is on the medium, and a power cut
// then takes both back: nobody was told that it had been kept.
//
// The file is opened as package recovery left it. A file that turns out to be
// damaged while it is used ends the store, and with it the process: the next
// start checks all of it. Tested with real files, and with power cuts in
// test/small.
package datastore
