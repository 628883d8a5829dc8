// Package kube is the way by which Kubernetes orders an update: the resource
// OSUpdate, what becomes of it, and the events on the Node.
//
// It owns the definition of the resource (osupdate.crd.json), which it installs
// and keeps as this version has it; the rule by which objects become orders
// (decide, pure); their status, which it writes from what internal/update knows,
// also of an update that began before the node restarted; and the telling of the
// history as Events. It never decides whether an update may be: that is the
// Updater's, whose answer it passes on. It overwrites no definition of that name
// that is not its own, and orders nothing twice for one generation of a spec.
//
// What has been ordered is remembered in the status of the object itself: the
// number that the update will have is written there before it is ordered, so
// that a power cut between the two can be told from one after both.
//
// Tests: decide by tables; the controller over real TLS against a server that
// answers as the API server does to what it is asked, through restarts,
// conflicts and an API that is not there yet; the pauses with virtual time. The
// whole tier has the real API server.
package kube
