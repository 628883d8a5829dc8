package mount

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestParseInfo(t *testing.T) {
	const text = `21 1 254:0 / / rw,relatime - ext4 /dev/vda rw,errors=remount-ro
36 21 0:31 /a\040b /mnt/with\040space\011tab\134back\043hash ro,nosuid shared:12 master:3 - tmpfs none rw,size=1k
37 21 0:32 / /empty rw -` + " tmpfs  rw\n"
	got, err := ParseInfo([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Info{
		ID: 36, Parent: 21, Major: 0, Minor: 31, Root: "/a b", Target: "/mnt/with space\ttab\\back#hash",
		Options: []string{"ro", "nosuid"}, Optional: []string{"shared:12", "master:3"},
		Type: "tmpfs", Source: "none", SuperOptions: []string{"rw", "size=1k"},
	}
	if len(got) != 3 || !reflect.DeepEqual(got[1], want) {
		t.Errorf("got %+v", got)
	}
	if !got[1].Shared() || got[0].Shared() || !got[1].Has("ro") || got[1].Has("rw") {
		t.Error("Shared or Has is wrong")
	}
	if got[2].Source != "" || got[2].SuperOptions[0] != "rw" {
		t.Errorf("empty source: %+v", got[2])
	}
	for _, bad := range []string{"x", "x 1 0:1 / / rw - t s o", "1 x 0:1 / / rw - t s o", "1 1 01 / / rw - t s o", "1 1 0:1 / / rw a b c", "1 1 0:1 / / rw - t s"} {
		if _, err := ParseInfo([]byte(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("ParseInfo(%q): %v", bad, err)
		}
	}
}

func TestListOfThisProcess(t *testing.T) {
	if _, err := List(); err != nil {
		t.Error(err)
	}
	if i, err := At("/proc"); err != nil || i.Type != "proc" {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := At("/no/such/mount"); !os.IsNotExist(err) && err == nil {
		t.Errorf("no error")
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte("36 21 0:31 /a\\040b /mnt rw shared:12 - tmpfs none rw\n"))
	f.Add([]byte("1 1 0:1 / / rw -"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseInfo(b)
		if err == nil && len(list) > strings.Count(string(b), "\n")+1 {
			t.Errorf("%d mounts from %q", len(list), b)
		}
	})
}

// Children come before parents, whatever the order of the list.
func TestChildrenFirst(t *testing.T) {
	list := []Info{
		{ID: 1, Parent: 1, Target: "/"}, {ID: 5, Parent: 9, Target: "/data/x"}, {ID: 9, Parent: 1, Target: "/data"},
		{ID: 10, Parent: 1, Target: "/var"}, {ID: 11, Parent: 10, Target: "/var/lib"}, {ID: 12, Parent: 99, Target: "/orphan"},
		{ID: 13, Parent: 14, Target: "/loop"}, {ID: 14, Parent: 13, Target: "/loop"},
	}
	pos := map[int]int{}
	for i, m := range childrenFirst(list) {
		pos[m.ID] = i
	}
	if len(pos) != len(list) || pos[5] > pos[9] || pos[11] > pos[10] || pos[9] > pos[1] || pos[10] > pos[9] {
		t.Errorf("order %v", pos)
	}
}
