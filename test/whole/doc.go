// Package whole is the whole-VM tier: it boots the shipped ISO, disk image and
// kernel, and checks from outside what an operator is promised: a Ready node,
// pods, services, volumes, survival of faults, an immutable root, an orderly
// end, persistence, the entries of the boot menu, and plain words about bad
// input and a broken image.
//
// It owns no product code and uses only what an operator has: disks, cables,
// buttons, the console, the host channel and the Kubernetes API. Boots are
// expensive under emulation, so each of them carries many checks. No two machines
// run at a time: on two cores a node is Ready after 98 s alone and after 181 and
// 211 s beside another one, and kubelet's own limits begin to pass.
//
//	make image && KS_WHOLE=1 go test ./test/whole -v -timeout 80m
package whole
