package ctl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/ctl"
	"kubesolo.io/os/internal/update"
)

// updater gives one status after the other, the last for good, and keeps the
// orders it gets.
type updater struct {
	mu     sync.Mutex
	orders []update.Order
	refuse error
	list   []update.Status
}

func (u *updater) Status() update.Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.list[0]
	if len(u.list) > 1 && len(u.orders) > 0 {
		u.list = u.list[1:]
	}
	return s
}

func (u *updater) Order(_ context.Context, o update.Order) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.orders = append(u.orders, o)
	if o.Verb == update.RollBack && len(u.list) > 1 {
		u.list = u.list[1:] // the first one was asked for before
	}
	return u.refuse
}

// agent is a node's root with somebody at the agent's control socket.
func agent(t *testing.T, u *updater) ctl.Program {
	t.Helper()
	root := t.TempDir()
	l, err := control.Listen(filepath.Join(root, control.AgentSocket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { _ = control.Serve(l, update.Handler(u)) }()
	return ctl.Program{RunDir: filepath.Join(root, "run/ksinit"), Root: root}
}

func day(hour, minute int) time.Time { return time.Date(2026, 11, 26, hour, minute, 0, 0, time.UTC) }

var payload = update.Payload{Version: "0.2.0", Name: "kubesolo-os-0.2.0-amd64.slot", Length: 150_200_000, From: "https://updates.example.org"}

// at gives the status of an update from 0.1.0 in A to 0.2.0 in B in a phase.
func at(p update.Phase) update.Status {
	return update.Status{Version: "0.1.0", Slots: control.Slots{Running: "A", Good: "A", Passive: control.Passive{Slot: "B"}},
		State: update.State{Phase: p, Current: "0.1.0", Slot: "B", Payload: payload, Changed: day(18, 20)}}
}

func with(s update.Status, change func(*update.Status)) update.Status {
	change(&s)
	return s
}

func TestUpdateStatus(t *testing.T) {
	for _, test := range []struct {
		name, want string
		status     update.Status
		exit       int
	}{
		{"never updated", `version     KubeSolo OS 0.1.0, slot A
other slot  B
phase       idle
available   not checked yet
`, update.Status{Version: "0.1.0", State: update.State{Phase: update.Idle}, Slots: control.Slots{Running: "A", Passive: control.Passive{Slot: "B"}}}, 0},
		{"from an ISO", `version     KubeSolo OS 0.1.0
no updates  this is an ISO
phase       idle
available   nothing: no channel is configured
checked     2026-11-26 18:10:00 UTC
`, update.Status{Version: "0.1.0", State: update.State{Phase: update.Idle}, Slots: control.Slots{Problem: "this is an ISO"},
			Available: &update.Available{Checked: day(18, 10), Reason: "no channel is configured"}}, 0},
		{"downloading", `version     KubeSolo OS 0.1.0, slot A
other slot  B: 0.2.0, is being written
phase       downloading 0.2.0, since 2026-11-26 18:20:00 UTC
message     https://updates.example.org
progress    42 %, 63.1 of 150.2 MB
available   0.3.0
notes       "what\x1b[2J is new"
not now     wave: it is rolled out over 24h, and this machine's turn is at 2026-11-26 23:22 UTC
checked     2026-11-26 18:10:00 UTC, https://updates.example.org
`, with(at(update.Downloading), func(s *update.Status) {
			s.State.Message, s.Done, s.Total = payload.From, 63_084_000, 150_200_000
			s.Available = &update.Available{Checked: day(18, 10), From: payload.From, Version: "0.3.0", Notes: "what\x1b[2J is new",
				Reason: "wave: it is rolled out over 24h, and this machine's turn is at 2026-11-26 23:22 UTC"}
		}), 0},
		{"armed", `version     KubeSolo OS 0.1.0, slot A
other slot  B: 0.2.0, not tried yet
phase       armed 0.2.0, since 2026-11-26 18:20:00 UTC
armed       the next start tries slot B, which has 3 tries
available   the check failed: no route to host
checked     2026-11-26 18:10:00 UTC, https://updates.example.org
`, with(at(update.Armed), func(s *update.Status) {
			s.Slots.Trial, s.Slots.Tries = "B", 3
			s.Available = &update.Available{Checked: day(18, 10), From: payload.From, Error: "no route to host"}
		}), 0},
		{"on trial", `version      KubeSolo OS 0.2.0, slot B
other slot   A: 0.1.0, the one before
phase        judging 0.2.0, since 2026-11-26 18:20:00 UTC
waiting for  node: not ready
trial        of slot B; slot A is back unless all is well 10m0s after the start
available    not checked yet
`, with(at(update.Judging), func(s *update.Status) {
			s.Version, s.Waiting = "0.2.0", "node: not ready"
			s.Slots = control.Slots{Running: "B", Good: "A", Trial: "B", Tries: 2, OnTrial: true, Deadline: 600, Passive: control.Passive{Slot: "A"}}
		}), 0},
		{"taken back", `version     KubeSolo OS 0.1.0, slot A
other slot  B: 0.2.0, failed its trial
phase       rolled-back 0.2.0, since 2026-11-26 18:20:00 UTC
message     kernel panic
available   nothing: 0.2.0 failed its trial
checked     2026-11-26 18:10:00 UTC, https://updates.example.org
refused     0.2.0 since 2026-11-26 18:20:00 UTC: kernel panic
`, with(at(update.RolledBack), func(s *update.Status) {
			s.State.Message, s.State.Refused = "kernel panic", []update.Refusal{{Version: "0.2.0", Reason: "kernel panic", Time: day(18, 20)}}
			s.Available = &update.Available{Checked: day(18, 10), From: payload.From, Reason: "0.2.0 failed its trial"}
		}), 1},
	} {
		p := agent(t, &updater{list: []update.Status{test.status}})
		out, complaints, status := run(p, "update", "status")
		if out != test.want || status != test.exit || complaints != "" {
			t.Errorf("%s: status %d, %s\ngot\n%s\nwant\n%s", test.name, status, complaints, out, test.want)
		}
		out, _, status = run(p, "update", "status", "-o", "json")
		var got update.Status
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.State.Phase != test.status.State.Phase || status != test.exit {
			t.Errorf("%s: status %d, %v\n%s", test.name, status, err, out)
		}
		if test.name == "downloading" {
			documented(t, p, "update", "status")
		}
	}
}

// documented holds docs/updates-use.md to what is printed.
func documented(t *testing.T, p ctl.Program, args ...string) {
	t.Helper()
	out, _, _ := run(p, args...)
	out = strings.ReplaceAll(out, `"what\x1b[2J is new"`, "what is new")
	if doc, err := os.ReadFile("../../docs/updates-use.md"); err != nil || !strings.Contains(string(doc), "```text\n"+out+"```\n") {
		t.Errorf("docs/updates-use.md does not show what ksctl %s prints (%v):\n%s", strings.Join(args, " "), err, out)
	}
}

func TestUpdateHistory(t *testing.T) {
	u := &updater{list: []update.Status{at(update.Idle)}}
	p := agent(t, u)
	if out, _, status := run(p, "update", "history", "-o", "json"); out != "[]\n" || status != 0 {
		t.Errorf("status %d, %q", status, out)
	}
	u.list[0].State.History = []update.Entry{
		{Time: day(18, 20), Phase: update.Downloading, Version: "0.2.0", Message: "https://updates.example.org"},
		{Time: day(18, 21), Phase: update.Staged, Version: "0.2.0"},
		{Time: day(18, 21), Phase: update.Armed, Version: "0.2.0"},
		{Time: day(18, 24), Phase: update.RolledBack, Version: "0.2.0", Message: "kernel panic"},
	}
	documented(t, p, "update", "history")
	out, _, _ := run(p, "update", "history", "-o", "json")
	var got []update.Entry
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 4 || got[3] != u.list[0].State.History[3] {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUpdateOrders(t *testing.T) {
	checked := with(at(update.Idle), func(s *update.Status) {
		s.Available = &update.Available{Checked: day(18, 10), From: "oci://r.example/os", Version: "0.3.0"}
	})
	failed := with(at(update.Idle), func(s *update.Status) {
		s.Available = &update.Available{Checked: day(18, 10), Error: "no route to host"}
	})
	back := func(s *update.Status) { s.State.Back = true }
	trial := with(at(update.Judging), func(s *update.Status) {
		s.Slots = control.Slots{Running: "B", Good: "A", Trial: "B", OnTrial: true, Passive: control.Passive{Slot: "A"}}
	})
	apply := func(o update.Order) update.Order { o.Verb, o.By = update.Apply, "ksctl"; return o }
	for _, test := range []struct {
		args           string
		list           []update.Status
		refuse         error
		want           update.Order
		status         int
		out, complaint string
	}{
		{"check --source oci://r.example/os --channel edge", []update.Status{checked}, nil,
			update.Order{Verb: update.Check, Source: "oci://r.example/os", Channel: "edge", By: "ksctl"}, 0,
			"version    KubeSolo OS 0.1.0\navailable  0.3.0\nchecked    2026-11-26 18:10:00 UTC, oci://r.example/os\n", ""},
		{"check -o json", []update.Status{failed}, nil, update.Order{Verb: update.Check, By: "ksctl"}, 1, `"error": "no route to host"`, ""},
		{"check", []update.Status{failed}, nil, update.Order{Verb: update.Check, By: "ksctl"}, 1, "available  the check failed: no route to host\n", ""},
		{"check", []update.Status{checked}, errors.New("busy"), update.Order{Verb: update.Check, By: "ksctl"}, 1, "", "refused: busy"},
		{"apply", []update.Status{at(update.Idle)}, fmt.Errorf("%w: 0.1.0 is the newest", update.ErrNothingNew), apply(update.Order{}), 0,
			"nothing to install: 0.1.0 is the newest\n", ""},
		{"apply --version 0.2.0 --source s --channel c --force --no-wait", []update.Status{at(update.Downloading)}, nil,
			apply(update.Order{Version: "0.2.0", Source: "s", Channel: "c", Force: true}), 0, "it has begun", ""},
		{"apply --wait=false -o json", []update.Status{at(update.Downloading)}, nil, apply(update.Order{}), 0, `{"version":"0.1.0","state":{"phase":"downloading"`, ""},
		{"apply", []update.Status{at(update.Idle)}, &update.Rejected{Reason: "0.2.0 failed its trial: kernel panic; --force insists"}, apply(update.Order{}), 1, "",
			"refused: 0.2.0 failed its trial"},
		{"apply", []update.Status{
			with(at(update.Downloading), func(s *update.Status) { s.Waiting = "the source, which does not answer" }),
			with(at(update.Downloading), func(s *update.Status) { s.Done, s.Total = 63_084_000, 150_200_000 }),
			with(at(update.Downloading), func(s *update.Status) { s.Done, s.Total = 66_084_000, 150_200_000 }),
			with(at(update.Staged), func(s *update.Status) { s.Waiting = "the maintenance window: opens Sat 01:00" }),
			at(update.Armed),
		}, nil, apply(update.Order{}), 0, `downloading 0.2.0 from https://updates.example.org
waiting for: the source, which does not answer
40 %, 63.1 of 150.2 MB
staged 0.2.0: written to slot B and verified
waiting for: the maintenance window: opens Sat 01:00
the node restarts now into slot B; ksctl update status says afterwards how it went
`, ""},
		{"apply", []update.Status{at(update.Downloading), with(at(update.Failed), func(s *update.Status) { s.State.Message = "wrong hash" })}, nil,
			apply(update.Order{}), 1, "downloading", "0.2.0 cannot be installed: wrong hash"},
		{"apply", []update.Status{at(update.Staged), at(update.Idle)}, nil, apply(update.Order{}), 1, "staged", "the update was given up"},
		{"apply -o json", []update.Status{at(update.Staged), at(update.Armed)}, nil, apply(update.Order{}), 0, `"phase":"armed"`, ""},
		{"rollback --yes", []update.Status{at(update.Good), with(at(update.Staged), back), with(at(update.Armed), back)}, nil,
			update.Order{Verb: update.RollBack, By: "ksctl"}, 0, "staged 0.2.0: written to slot B and verified\nthe node restarts now into slot B;", ""},
		{"rollback --yes -o json", []update.Status{at(update.Good), with(at(update.Staged), back), with(at(update.Armed), back)}, nil,
			update.Order{Verb: update.RollBack, By: "ksctl"}, 0, `"phase":"armed"`, ""},
		{"rollback --yes", []update.Status{at(update.Good), with(at(update.Failed), func(s *update.Status) { s.State.Message = "ksinit: read-only" })}, nil,
			update.Order{Verb: update.RollBack, By: "ksctl"}, 1, "", "0.2.0 cannot be installed: ksinit: read-only"},
		{"rollback --yes", []update.Status{trial}, nil, update.Order{Verb: update.RollBack, By: "ksctl"}, 0, "the node restarts now into slot A;", ""},
		{"rollback --yes -o json", []update.Status{trial}, nil, update.Order{Verb: update.RollBack, By: "ksctl"}, 0, `"phase":"judging"`, ""},
		{"rollback --yes -o json", []update.Status{at(update.Good)}, errors.New("half a slot"), update.Order{Verb: update.RollBack, By: "ksctl"}, 1, "", "refused: half a slot"},
		{"cancel -o json", []update.Status{at(update.Staged), at(update.Staged), with(at(update.Idle), func(s *update.Status) { s.State.Message = "cancelled" })}, nil,
			update.Order{Verb: update.Cancel, By: "ksctl"}, 0, `"phase":"idle"`, ""},
		{"cancel", []update.Status{at(update.Staged)}, nil, update.Order{Verb: update.Cancel, By: "ksctl"}, 0, "the update is given up\n", ""},
		{"cancel", []update.Status{at(update.Armed)}, errors.New("armed already"), update.Order{Verb: update.Cancel, By: "ksctl"}, 1, "", "refused: armed already"},
		{"rollback", []update.Status{at(update.Good)}, nil, update.Order{}, 2, "", "nobody is there to be asked: say --yes"},
		{"apply now", []update.Status{at(update.Idle)}, nil, update.Order{}, 2, "", `update apply takes no argument "now"`},
		{"apply -o yaml", []update.Status{at(update.Idle)}, nil, update.Order{}, 2, "", "it is text or json"},
		{"status -o text", []update.Status{at(update.Idle)}, nil, update.Order{}, 2, "", "it is table or json"},
		{"install", []update.Status{at(update.Idle)}, nil, update.Order{}, 2, "", `unknown command "install"`},
	} {
		u := &updater{list: test.list, refuse: test.refuse}
		out, complaints, status := run(agent(t, u), append([]string{"update"}, strings.Fields(test.args)...)...)
		if status != test.status || !strings.Contains(out, test.out) || !strings.Contains(complaints, test.complaint) || test.complaint == "" && complaints != "" {
			t.Errorf("update %s: status %d, %q\ngot\n%s\nwant\n%s", test.args, status, complaints, out, test.out)
		}
		if strings.Contains(test.args, "-o json") && status != 2 {
			for line := json.NewDecoder(strings.NewReader(out)); line.More(); {
				if err := line.Decode(new(any)); err != nil {
					t.Errorf("update %s: %v\n%s", test.args, err, out)
					break
				}
			}
		}
		if test.want == (update.Order{}) && len(u.orders) > 0 || test.want != (update.Order{}) && (len(u.orders) != 1 || u.orders[0] != test.want) {
			t.Errorf("update %s: orders %+v, want %+v", test.args, u.orders, test.want)
		}
	}
	nowhere := ctl.Program{RunDir: t.TempDir(), Root: t.TempDir()}
	for _, verb := range []string{"check", "apply", "status", "rollback", "history", "cancel"} {
		if out, complaints, status := run(nowhere, "update", verb); out != "" || status != 2 || !strings.Contains(complaints, "updates are ksagent's") {
			t.Errorf("update %s on no node: status %d, %q", verb, status, complaints)
		}
		if out, complaints, status := run(nowhere, "update", verb, "--help"); status != 0 || complaints != "" || !strings.Contains(out, "Example") {
			t.Errorf("update %s --help: status %d\n%s%s", verb, status, out, complaints)
		}
	}
}

// openTerminal gives both ends of a pseudo-terminal of 80 columns.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 80}); err != nil {
		t.Fatal(err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, person.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	program = os.NewFile(fd, "terminal")
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// onTerminal runs a command with a person at a terminal who types, and gives
// what is on it afterwards.
func onTerminal(t *testing.T, p ctl.Program, typed string, args ...string) (screen string, status int) {
	t.Helper()
	person, program := openTerminal(t)
	p.Stdin, p.Stdout, p.Stderr = program, program, program
	if _, err := person.WriteString(typed); err != nil {
		t.Fatal(err)
	}
	status = p.Run(args)
	fmt.Fprint(program, "<end>")
	text, part := "", make([]byte, 4096)
	for !strings.HasSuffix(text, "<end>") {
		n, err := person.Read(part)
		if err != nil {
			t.Fatal(err)
		}
		text += string(part[:n])
	}
	return strings.TrimSuffix(text, "<end>"), status
}

func TestUpdateOnTerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	u := &updater{list: []update.Status{
		with(at(update.Downloading), func(s *update.Status) { s.Done, s.Total = 0, 150_200_000 }),
		with(at(update.Downloading), func(s *update.Status) { s.Done, s.Total = 75_100_000, 150_200_000 }),
		with(at(update.Downloading), func(s *update.Status) { s.Waiting = strings.Repeat("a source that does not answer ", 9) }),
		at(update.Staged), at(update.Armed),
	}}
	got, status := onTerminal(t, agent(t, u), "", "update", "apply")
	got = regexp.MustCompile(`  [0-9.]+ MB/s  [0-9hms.]+`).ReplaceAllString(got, "") // by the clock
	const mark, bar = "\r\x1b[33mdownloading\x1b[0m 0.2.0", "  [%s]  %3d %%  %s of 150.2 MB\x1b[K"
	want := mark + fmt.Sprintf(bar, strings.Repeat("-", 12), 0, "  0.0") +
		mark + fmt.Sprintf(bar, strings.Repeat("#", 6)+strings.Repeat("-", 6), 50, " 75.1") +
		mark + " from https://updates.example.org  waiting for: a source that \x1b[K\r\n" +
		"\r\x1b[33mstaged\x1b[0m 0.2.0: written to slot B and verified\x1b[K\r\nthe node restarts now into slot B; ksctl update status says afterwards how it went\r\n"
	if got != want || status != 0 {
		t.Errorf("status %d\ngot  %q\nwant %q", status, got, want)
	}
	for answer, status := range map[string]int{"y\n": 0, "n\n": 2, "\n": 2} {
		u := &updater{list: []update.Status{at(update.Good), at(update.Staged), at(update.Armed)}}
		screen, got := onTerminal(t, agent(t, u), answer, "update", "rollback")
		if got != status || len(u.orders) != map[int]int{0: 1, 2: 0}[status] || !strings.Contains(screen, "from slot A into slot B: 0.2.0. Go on? [y/N]") {
			t.Errorf("%q: status %d, orders %v\n%s", answer, got, u.orders, screen)
		}
	}
}
