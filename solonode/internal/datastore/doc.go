// Package datastore serves the etcd API from a SQLite file with kine, on a
// Unix socket that only root can open. Upstream listens on 127.0.0.1:2379
// without authentication, where every pod in the host network can read all
// Secrets.
//
// Durability: SQLite runs in WAL mode with synchronous=NORMAL, which never
// breaks the file but may lose the last commits at a power cut. Syncer bounds
// that loss to a second with one fdatasync per second of activity, instead of
// one per commit, which cost minutes at the first boot on SD cards.
//
// The database is checked for corruption before it is opened (Check). Tested
// with real files.
package datastore
