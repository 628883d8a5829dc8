package audit

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/mount"
)

var update = flag.Bool("update", false, "write golden files and docs/hardening.md")

// good is the snapshot of a real node: `ksctl audit -o snapshot` on the
// shipped ISO in a virtual machine.
func good(t *testing.T) Snapshot {
	t.Helper()
	b, err := os.ReadFile("testdata/node.json")
	if err != nil {
		t.Fatal(err)
	}
	var s Snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGoodNode: the whole table of a node as it should be.
func TestGoodNode(t *testing.T) {
	report := Evaluate(good(t))
	for _, r := range report.Failed() {
		t.Errorf("%+v", r)
	}
	var text bytes.Buffer
	if err := report.Table(&text); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/node.golden"
	if *update {
		if err := os.WriteFile(golden, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(want, text.Bytes()) {
		t.Errorf("%v; review and run with -update:\n%s", err, &text)
	}
}

// TestEveryCheckCanFail breaks the good node in one place for every check, and
// only that check may fail.
func TestEveryCheckCanFail(t *testing.T) {
	faults := map[string]func(*Snapshot){
		"lockdown": func(s *Snapshot) { s.Texts[lockdownFile] = "[none] integrity confidentiality" },
		"root is read-only": func(s *Snapshot) {
			s.Mounts = append(s.Mounts, mount.Info{Target: "/", Type: "tmpfs", Options: []string{"ro", "nosuid", "nodev", "noexec"}})
		},
		"nosuid": func(s *Snapshot) { s.Mounts = append(s.Mounts, mounted("/mnt", "nodev", "noexec")) },
		"nodev":  func(s *Snapshot) { s.Mounts = append(s.Mounts, mounted("/mnt", "nosuid", "noexec")) },
		"noexec": func(s *Snapshot) { s.Mounts = append(s.Mounts, mounted("/mnt", "nosuid", "nodev")) },
		"pods: system call filter": func(s *Snapshot) {
			change(s, "coredns", func(p *Process) { p.Seccomp = 0 })
		},
		"known sockets only": func(s *Snapshot) {
			s.Sockets = append(s.Sockets, Socket{Protocol: "tcp", Address: netip.MustParseAddrPort("0.0.0.0:22"), Owner: "sshd"})
		},
		"datastore has no port": func(s *Snapshot) {
			s.Sockets = append(s.Sockets, Socket{Protocol: "tcp", Address: netip.MustParseAddrPort("127.0.0.1:2379"), Owner: "kubesolo"})
		},
	}
	also := map[string]string{"datastore has no port": "known sockets only"}
	for _, s := range settingTable() {
		faults[s.key] = func(snapshot *Snapshot) { snapshot.Texts[s.path()] = "-1" }
	}
	for _, a := range argumentTable() {
		faults[a.word] = func(s *Snapshot) {
			s.Texts[cmdlineFile] = strings.ReplaceAll(s.Texts[cmdlineFile], a.word, "other")
		}
	}
	for _, r := range ServiceRights() {
		faults[r.Service+": capabilities"] = func(s *Snapshot) {
			change(s, r.Service, func(p *Process) { p.Bounding |= 1 << unix.CAP_SYS_BOOT })
		}
		faults[r.Service+": no_new_privs"] = func(s *Snapshot) {
			change(s, r.Service, func(p *Process) { p.NoNewPrivs = false })
		}
	}
	for _, secret := range secrets() {
		faults[secret.name()] = func(s *Snapshot) {
			for i := range s.Files {
				if secret.covers(s.Files[i].Path) {
					s.Files[i].Mode = 0o644
				}
			}
			if secret.absent {
				s.Files = append(s.Files, File{Path: secret.path, Mode: 0o644})
			}
		}
	}
	for _, c := range Checks() {
		fault := faults[c.Name]
		if fault == nil {
			t.Errorf("%s: no test makes it fail", c.Name)
			continue
		}
		s := good(t)
		fault(&s)
		var failed []string
		for _, r := range Evaluate(s).Failed() {
			failed = append(failed, r.Name)
			if r.Reason == "" {
				t.Errorf("%s fails without a reason", r.Name)
			}
		}
		if !slices.Contains(failed, c.Name) || len(slices.DeleteFunc(failed, func(n string) bool { return n == c.Name || n == also[c.Name] })) > 0 {
			t.Errorf("%s is broken, and what fails is %q", c.Name, failed)
		}
	}
}

func mounted(target string, options ...string) mount.Info {
	return mount.Info{Target: target, Type: "tmpfs", Options: append(options, "rw")}
}

func change(s *Snapshot, name string, f func(*Process)) {
	for i := range s.Processes {
		if s.Processes[i].Name == name {
			f(&s.Processes[i])
		}
	}
}

// TestNothingSeen: what could not be read has not passed.
func TestNothingSeen(t *testing.T) {
	for _, r := range Evaluate(Snapshot{}) {
		if r.State == Pass {
			t.Errorf("%s passed by nothing: %+v", r.Name, r)
		}
	}
}

// TestLastArgumentWins, as in the kernel.
func TestLastArgumentWins(t *testing.T) {
	a := argument{word: "vsyscall=none"}
	for line, want := range map[string]State{
		"quiet vsyscall=none": Pass, "vsyscall=emulate vsyscall=none": Pass,
		"vsyscall=none vsyscall=emulate": Fail, "vsyscall": Fail, "xvsyscall=none": Fail, "": Fail,
	} {
		if got := a.judge(Snapshot{Texts: map[string]string{cmdlineFile: line}}); got.state != want {
			t.Errorf("%q: %+v, want %s", line, got, want)
		}
	}
}

// TestStricterIsFine: the settings with a lower bound.
func TestStricterIsFine(t *testing.T) {
	for value, want := range map[string]State{"1": Pass, "2": Pass, "0": Fail, "": Fail, "x": Fail} {
		s := setting{key: "kernel.yama.ptrace_scope", want: "1", min: true}
		if got := s.judge(Snapshot{Texts: map[string]string{s.path(): value}}); got.state != want {
			t.Errorf("%q: %+v, want %s", value, got, want)
		}
		s.min = false
		if got := s.judge(Snapshot{Texts: map[string]string{s.path(): value}}); (got.state == Pass) != (value == "1") {
			t.Errorf("exactly 1, %q: %+v", value, got)
		}
	}
}

// A socket that may be reached on the node only must not be open to all, and
// one of a pod is no matter of the node.
func TestPortsAreOwned(t *testing.T) {
	for _, tc := range []struct {
		address, owner string
		want           State
	}{
		{"127.0.0.1:10248", "kubesolo", Pass}, {"0.0.0.0:10248", "kubesolo", Fail}, {"[::]:6443", "kubesolo", Pass},
		{"[::1]:10248", "kubesolo", Pass}, {"0.0.0.0:6443", "other", Fail}, {"0.0.0.0:6443", "", Fail},
		{"0.0.0.0:80", podOwner, Pass}, {"127.0.0.1:40123", "containerd", Pass}, {"10.0.0.1:40123", "containerd", Fail},
	} {
		s := Snapshot{Texts: map[string]string{socketsRead: "read"},
			Sockets: []Socket{{Protocol: "tcp", Address: netip.MustParseAddrPort(tc.address), Owner: tc.owner}}}
		if got := knownPorts(s); got.state != tc.want {
			t.Errorf("%s of %q: %+v, want %s", tc.address, tc.owner, got, tc.want)
		}
	}
}

func TestJSON(t *testing.T) {
	report := Report{{Group: "g", Name: "n", State: Fail, Want: "<1>", Got: "2", Reason: "r"}, {Group: "g", Name: "m", State: Pass, Reason: "r"}}
	var out bytes.Buffer
	if err := report.JSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Failed int
		Checks Report
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Failed != 1 || !slices.Equal(got.Checks, report) || !strings.Contains(out.String(), "<1>") {
		t.Errorf("%s %v", &out, err)
	}
}
