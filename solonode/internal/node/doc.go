// Package node wires the components of one node: which there are, what each
// needs, and when each counts as ready.
//
//	datastore -> apiserver -> controllers, scheduler, addons, kubelet
//	kubelet   -> proxy
//	runtime (CRI answers) -> kubelet
//
// It holds no behaviour of its own. Tested by running the control plane for
// real (integration_test.go) and whole nodes in virtual machines.
package node
