// Package recovery sees to it that the database file of the control plane can
// be opened, before anything opens it for writing.
//
// After a clean end it only reads the header and the schema. SQLite removes the
// write-ahead log at the last close, so a log that is still there means an
// unclean end: then the whole file is checked. A note left by Suspect makes it a
// check of the indexes too. What fails is brought back in this order, each step
// one line of log:
//
//  1. read again, in case the medium recovered;
//  2. rebuild: the rows copied into a new file, the indexes made anew. Nothing
//     is lost, or the step fails;
//  3. the file without its log: what was written since the last checkpoint,
//     minutes at most, is lost;
//  4. the newest copy that passes the check: everything since is lost.
//
// All steps work on a duplicate. The broken files stay where they are until the
// new one is complete and on the medium, and then beside it, with the time in
// their name; of these the newest two are kept.
//
// It never makes an empty database out of a broken one, and it never touches
// certificates. Tested with real files, damaged in each of these ways.
package recovery
