package main

import "testing"

func TestLockdownLevel(t *testing.T) {
	const open = "[none] integrity confidentiality\n"
	for _, tc := range []struct{ arguments, have, tainted, level, reason string }{
		{"quiet", open, "0", "integrity", "integrity"},
		{"quiet", open, "4096", "integrity", "integrity"}, // out of tree, but signed
		{"quiet", open, "8192", "", "none: modules are loaded that no key of this kernel has signed"},
		{"quiet", open, "12289", "", "none: modules are loaded that no key of this kernel has signed"},
		{"quiet", open, "?", "", "none: modules are loaded that no key of this kernel has signed"},
		{"quiet lockdown=none", open, "0", "", "left as the kernel's argument says: lockdown=none"},
		{"quiet", "none integrity [confidentiality]\n", "0", "", "already: none integrity [confidentiality]"},
	} {
		level, reason := lockdownLevel(tc.arguments, tc.have, tc.tainted)
		if level != tc.level || reason != tc.reason {
			t.Errorf("%q, %q, tainted %s: got %q, %q", tc.arguments, tc.have, tc.tainted, level, reason)
		}
	}
}
