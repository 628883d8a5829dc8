package kconfig_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/kconfig"
)

func TestAudit(t *testing.T) {
	list, err := kconfig.ParseRequirements(strings.NewReader(`# comment
A=y | a is needed
B=m | b is needed
C!=y | c harms
`))
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, c := range []struct{ config, missing string }{
		{"CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=m\n", ""},
		{"CONFIG_A=y\nCONFIG_B=y\n", ""},
		{"CONFIG_A=m\n# CONFIG_B is not set\n", "A:m B:not set"},
		{"CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=y\n", "C:y"},
	} {
		options, err := kconfig.Parse(strings.NewReader(c.config))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range kconfig.Audit(list, options) {
			got = append(got, f.Option+":"+f.Have)
		}
		if s := strings.Join(got, " "); s != c.missing {
			t.Errorf("%q: missing %q, want %q", c.config, s, c.missing)
		}
	}
}

func TestBadFiles(t *testing.T) {
	for _, bad := range []string{"A=y", "A | why", "A=x | why", "=y | why"} {
		if _, err := kconfig.ParseRequirements(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := kconfig.Parse(strings.NewReader("hello")); !errors.Is(err, kconfig.ErrNotConfig) {
		t.Errorf("not a configuration: %v", err)
	}
}

// A kernel without numgen and the family switches is the one a peer shipped: it must be
// named, with the reason.
func TestShippedListNamesThePeersFault(t *testing.T) {
	f, err := os.Open("../../../kernel/required.options")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	list, err := kconfig.ParseRequirements(f)
	if err != nil {
		t.Fatal(err)
	}
	options := map[string]string{}
	for _, r := range list {
		if r.Reason == "" {
			t.Errorf("%s has no reason", r.Option)
		}
		if r.Want != "!y" {
			options[r.Option] = "y"
		}
	}
	if left := kconfig.Audit(list, options); len(left) != 0 {
		t.Fatalf("a kernel with everything lacks %v", left)
	}
	for _, name := range []string{"NFT_NUMGEN", "NF_TABLES_IPV4", "NF_TABLES_INET", "NFT_FIB_IPV6"} {
		delete(options, name)
	}
	if left := kconfig.Audit(list, options); len(left) != 4 {
		t.Errorf("found %v, want the four", left)
	}
}
