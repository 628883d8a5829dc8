package netcfg

import "strings"

// ValidDomain reports whether s can stand in a resolv.conf search line: labels
// of letters, digits, '-' and '_', at most 253 bytes.
func ValidDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, badInLabel) {
			return false
		}
	}
	return true
}

func badInLabel(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}
