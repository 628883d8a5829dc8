package audit

import (
	"os"
	"slices"
	"strings"
	"testing"

	"kubesolo.io/os/internal/image/grub"
)

// TestSettingsAreMade: what the audit wants is what ksinit sets, and every line
// of the hardening part of the file is wanted.
func TestSettingsAreMade(t *testing.T) {
	text, err := os.ReadFile("../../rootfs-overlay/etc/kubesolo-os/sysctl")
	if err != nil {
		t.Fatal(err)
	}
	made, hardening := map[string]string{}, map[string]bool{}
	_, part, found := strings.Cut(string(text), "# Hardening;")
	if !found {
		t.Fatal("the file has no part that begins with # Hardening;")
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok && !strings.HasPrefix(line, "#") {
			made[key] = value
			hardening[key] = strings.Contains(part, "\n"+key+" = ")
		}
	}
	for _, s := range settingTable() {
		if made[s.key] != s.want {
			t.Errorf("%s: the file says %q, the audit wants %q", s.key, made[s.key], s.want)
		}
		delete(hardening, s.key)
	}
	for key, is := range hardening {
		if is {
			t.Errorf("%s is set for hardening, and no check looks for it", key)
		}
	}
}

// TestArgumentsAreGiven: every entry of the boot menus gives what the audit wants.
func TestArgumentsAreGiven(t *testing.T) {
	for _, menu := range []string{grub.ISOMenu(), grub.DiskMenu()} {
		lines := 0
		for line := range strings.Lines(menu) {
			words := strings.Fields(line)
			if len(words) == 0 || words[0] != "linux" {
				continue
			}
			lines++
			for _, a := range Arguments() {
				if !slices.Contains(words, a) {
					t.Errorf("%s is not in %s", a, line)
				}
			}
		}
		if lines == 0 {
			t.Error("a menu without a kernel")
		}
	}
}

// TestDocument keeps the tables of docs/hardening.md those of this package.
func TestDocument(t *testing.T) {
	const file = "../../docs/hardening.md"
	const begin, end = "<!-- audit:begin (go test ./internal/audit -update) -->\n", "<!-- audit:end -->"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	from, to := strings.Index(string(doc), begin), strings.Index(string(doc), end)
	if from < 0 || to < from {
		t.Fatalf("%s lacks the marks %q and %q", file, begin, end)
	}
	from += len(begin)
	if *update {
		if err := os.WriteFile(file, []byte(string(doc[:from])+Markdown()+"\n"+string(doc[to:])), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(doc[from:to]) != Markdown()+"\n" {
		t.Errorf("%s tells other checks; run with -update", file)
	}
}
