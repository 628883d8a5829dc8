package kmod

import (
	"slices"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"*", "", true}, {"*", "a/b", true},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false},
		{"*ab", "aab", true}, {"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]x", "dx", true},
		{"[^a]", "a", false}, {"[]]", "]", true}, {"[a-]", "-", true}, {"[", "[", true}, {"[a", "[a", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {"a**b", "ab", true}, {"[0-9]*x", "5abcx", true},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestNormalizeAlias(t *testing.T) {
	if got := normalizeAlias("a-b[c-d]e-f"); got != "a_b[c-d]e_f" {
		t.Error(got)
	}
}

// The index finds what trying every alias finds.
func FuzzIndex(f *testing.F) {
	f.Add("pci:v*d1 a\nusb:v1[ab]* b\n* c\n\\x d", "pci:vXd1")
	f.Add("[ x\n[a-", "[")
	f.Fuzz(func(t *testing.T, text, name string) {
		var x index
		var want []string
		for line := range strings.SplitSeq(text, "\n") {
			pattern, module, ok := strings.Cut(line, " ")
			if !ok {
				continue
			}
			x.add(pattern, module)
			if m := canonical(module); match(normalizeAlias(pattern), name) && !slices.Contains(want, m) {
				want = append(want, m)
			}
		}
		got := x.lookup(name)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("lookup(%q) in %q: %q, want %q", name, text, got, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\n", "softdep a pre: b post: c\n", "a.alias=x*\x00")
	f.Fuzz(func(t *testing.T, dep, soft, modinfo string) {
		if _, _, err := parseDep(dep); err == nil && strings.Contains(dep, "\nno colon\n") {
			t.Error("accepted a line without a colon")
		}
		parseSoftdep(soft)
		var x index
		x.addModinfo(modinfo, map[string]bool{})
		x.addAliases(soft)
	})
}
