package mount

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/nstest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestTableString(t *testing.T) {
	got := Table{
		{Source: "proc", Target: "/proc", Type: "proc", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Flags: unix.MS_NOSUID, Data: "mode=0755"},
		{Source: "/data/log", Target: "/var/log", Flags: unix.MS_BIND | unix.MS_RDONLY, Optional: true},
		{Target: "/", Flags: unix.MS_SHARED | unix.MS_REC},
		{Source: "x", Target: "/x", Type: "y", Flags: 1 << 31},
	}.String()
	const file = "testdata/table.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("got\n%swant\n%s%v", got, want, err)
	}
}

// dir is a fresh tmpfs in which a test mounts.
func dir(t *testing.T) string {
	t.Helper()
	d := t.TempDir()
	if err := (Entry{Source: "t", Target: d, Type: "tmpfs"}).Apply(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(d, unix.MNT_DETACH) })
	return d
}

func apply(t *testing.T, e Entry) {
	t.Helper()
	if err := e.Apply(); err != nil {
		t.Fatal(err)
	}
}

func at(t *testing.T, target string) Info {
	t.Helper()
	i, err := At(target)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Every flag of a table arrives in mountinfo, on a new mount and on a bind.
func TestEveryFlag(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	d := dir(t)
	if err := os.Mkdir(d+"/src", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, flag := range map[string]uintptr{
		"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
		"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME, "nosymfollow": unix.MS_NOSYMFOLLOW,
	} {
		apply(t, Entry{Source: "n", Target: d + "/new-" + name, Type: "tmpfs", Flags: flag})
		apply(t, Entry{Source: d + "/src", Target: d + "/bind-" + name, Flags: unix.MS_BIND | flag})
		for _, kind := range []string{"new-", "bind-"} {
			i := at(t, d+"/"+kind+name)
			if !i.Has(name) {
				t.Errorf("%s%s: options %v", kind, name, i.Options)
			}
			for _, other := range []string{"ro", "nosuid", "nodev", "noexec", "noatime"} {
				if other != name && i.Has(other) {
					t.Errorf("%s%s also has %s", kind, name, other)
				}
			}
		}
	}
	if err := os.WriteFile(d+"/bind-ro/x", nil, 0o600); err == nil {
		t.Error("the read-only bind is writable")
	}
	if err := os.WriteFile(d+"/src/x", nil, 0o600); err != nil {
		t.Error(err)
	}
}

func TestPropagation(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	d := dir(t)
	apply(t, Entry{Source: "n", Target: d + "/s", Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_SHARED | unix.MS_REC})
	if i := at(t, d+"/s"); !i.Shared() || !i.Has("nosuid") {
		t.Errorf("%+v", i)
	}
	apply(t, Entry{Target: d + "/s", Flags: unix.MS_PRIVATE})
	if at(t, d+"/s").Shared() {
		t.Error("still shared")
	}
	apply(t, Entry{Target: d + "/s", Flags: unix.MS_UNBINDABLE})
	if got := at(t, d+"/s").Optional; !slices.Equal(got, []string{"unbindable"}) {
		t.Errorf("%v", got)
	}
}

func TestTargetsAndFiles(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	d := dir(t)
	apply(t, Entry{Source: "n", Target: d + "/a/b", Type: "tmpfs", Data: "mode=0710,size=1m", Mode: 0o700})
	if st, err := os.Stat(d + "/a/b"); err != nil || st.Mode().Perm() != 0o710 {
		t.Errorf("%v %v", st, err)
	}
	if i := at(t, d+"/a/b"); !strings.Contains(strings.Join(i.SuperOptions, ","), "size=1024k") {
		t.Errorf("%v", i.SuperOptions)
	}
	if err := os.WriteFile(d+"/file", []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	apply(t, Entry{Source: d + "/file", Target: d + "/x/file", Flags: unix.MS_BIND | unix.MS_RDONLY})
	if b, err := os.ReadFile(d + "/x/file"); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
	apply(t, Entry{Source: d + "/a/b", Target: d + "/moved", Flags: unix.MS_MOVE})
	if i := at(t, d+"/moved"); i.Type != "tmpfs" {
		t.Errorf("%+v", i)
	}
	apply(t, Entry{Target: d + "/moved", Flags: unix.MS_REMOUNT | unix.MS_RDONLY})
	if i := at(t, d+"/moved"); !slices.Contains(i.SuperOptions, "ro") {
		t.Errorf("%+v", i)
	}
}

// The kernel refuses a file system on top of itself: that is "done", with our
// flags; anything else in the place is an error.
func TestMountedAlready(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	d := dir(t)
	proc := Entry{Source: "proc", Target: d + "/proc", Type: "proc"}
	apply(t, proc)
	proc.Flags = unix.MS_NOSUID | unix.MS_NODEV
	apply(t, proc)
	if i := at(t, d+"/proc"); !i.Has("nosuid") || !i.Has("nodev") {
		t.Errorf("%v", i.Options)
	}
}

func TestOptionalDegrades(t *testing.T) {
	nstest.Require(t, nstest.Mount)
	d := dir(t)
	bad := Entry{Source: "n", Target: d + "/bad", Type: "nosuchfs", Optional: true}
	degraded, fatal := Table{bad, {Source: "n", Target: d + "/good", Type: "tmpfs"}}.Apply()
	if fatal != nil || degraded == nil || !strings.Contains(degraded.Error(), d+"/bad (nosuchfs") {
		t.Errorf("%v, %v", degraded, fatal)
	}
	at(t, d+"/good")
	bad.Optional = false
	_, fatal = Table{bad, {Source: "n", Target: d + "/never", Type: "tmpfs"}}.Apply()
	if fatal == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(d, "never")); err == nil {
		t.Error("it went on after a fatal entry")
	}
}
