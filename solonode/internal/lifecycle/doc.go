// Package lifecycle runs the parts of the node in one process: it starts each
// component as soon as those it needs are ready, tells when each became ready,
// and stops them in the reverse order within a budget for all together. What
// hangs is left behind; a component with a reserve has that much time whatever
// hung before it.
//
// There are no sleeps between components. Readiness is probed with the
// component's own Ready function, first often, then less often.
//
// One component that returns or fails before the stop ends the whole node: the
// parts share one address space and one set of registries, so restarting a
// single one is not possible upstream.
//
// It knows nothing of Kubernetes. Tested with synthetic components and
// testing/synctest.
package lifecycle
