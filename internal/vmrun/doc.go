// Package vmrun is the run command of ksimage: it boots a built image in a
// virtual machine for a person, or for a CI job, and says on plain lines what
// the node does until it is Ready.
//
// It owns build/data.img, build/run-disk.qcow2, build/serial.log and
// build/kubeconfig. It never writes to a built artefact and never deletes a
// data disk. What is printed is made by pure functions with golden files; the
// rest is tested by the whole-VM tier, which boots the same images.
package vmrun
