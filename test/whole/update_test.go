package whole

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kubesolo.io/os/internal/event"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/vmtest"
)

const updateObjects = "/apis/os.kubesolo.io/v1alpha1/osupdates"

// TestUpdate boots a copy of the disk image, which grows the data partition, and
// takes the node with a workload from version to version by BIOS: to bad ones, of which
// none stays, and to a good one after them. With all updates it goes to a good one
// before them too, so that the bad ones are in the other slot; by UEFI they always are.
func TestUpdate(t *testing.T) {
	c := newChannel(t)
	image := artefact(t, "kubesolo-os-amd64.img")
	built := hashFile(t, image)
	n := installed(t, c, "update-bios", false)
	n.testGrown(t)
	n.testOutside(t, c)
	n.testVolume(t)
	n.apply(t, "bystander.yaml")
	n.waitPhase(t, "bystander", "Running")

	shipped, err := n.WaitEvent(t.Context(), func(e event.Event) bool { return e.Type == event.Ready })
	if err != nil {
		t.Fatal(err)
	}
	before, slot := shipped.Message, "B"
	if allUpdates() {
		t.Run("good", func(t *testing.T) {
			c.build("0.2.0")
			n.goodUpdate(t, "0.2.0", "B")
		})
		before, slot = "0.2.0", "A"
	}
	bad := troubles("0.3", 0, 3)
	n.badUpdates(t, c, bad, before)
	t.Run("good after bad", func(t *testing.T) {
		c.build("0.4.0")
		n.goodUpdate(t, "0.4.0", slot)
	})
	n.testHistory(t, slot, bad)
	n.switchOff(t)
	if hashFile(t, image) != built {
		t.Error("the artefact was changed")
	}
}

// testGrown: the data partition has the whole disk of 8 GiB, less 1.5 GiB for the
// others and less what ext4 keeps for itself.
func (n *node) testGrown(t *testing.T) {
	t.Helper()
	size := n.privileged(t, "size", "df -m /host/var/lib/kubesolo | tail -n 1")
	if !regexpMatch(t, ` [56]\d\d\d +\d+ +\d+ `, size) {
		t.Errorf("the data partition has not grown: %s", size)
	}
}

// testOutside: a pod, whose address no network but the node's knows, has an answer
// from the server with the updates.
func (n *node) testOutside(t *testing.T, c *channel) {
	t.Helper()
	address, port, _ := strings.Cut(strings.TrimPrefix(c.URL, "http://"), ":")
	n.apply(t, "outside.yaml", "ADDRESS", address, "PORT", port)
	n.waitPhase(t, "outside", "Succeeded")
	if text := n.logs(t, "outside"); !strings.Contains(text, "HTTP/1.") || !strings.Contains(text, "inet 10.42.") {
		t.Errorf("the pod says:\n%s", text)
	}
}

// switchOff ends the machine in order, after which its disk is clean.
func (n *node) switchOff(t *testing.T) {
	t.Helper()
	if err := n.EndAtReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.shutDown(t)
	mustBeClean(t, n.Config.Disks[0].Path)
}

// TestUpdateUEFI does the same by UEFI, where GRUB writes by way of the firmware.
// Its good version comes on a stick, which nobody has to order.
func TestUpdateUEFI(t *testing.T) {
	c := newChannel(t)
	c.build("0.4.0")
	n := installed(t, c, "update-uefi", true, vmtest.Disk{Path: c.stick()})
	t.Run("stick", func(t *testing.T) {
		n.waitUpdate(t, "0.4.0", update.Armed)
		t.Logf("0.4.0: %s", n.waitUpdate(t, "0.4.0", update.Good))
	})
	n.testVolume(t)
	n.apply(t, "bystander.yaml")
	n.waitPhase(t, "bystander", "Running")
	if s := n.workload(t, time.Now()); s.Version != "0.4.0" || s.Slots.Good != "B" || s.State.Payload.From != update.MediumSource {
		t.Errorf("status %+v", s)
	}
	n.badUpdates(t, c, troubles("0.5", 1, 2), "0.4.0")
	if allUpdates() {
		t.Run("good after bad", func(t *testing.T) {
			c.build("0.6.0")
			n.goodUpdate(t, "0.6.0", "A")
		})
	}
	n.switchOff(t)
}

// deadline is twice what a good version needs; one that never gets Ready takes all of it.
const deadline = 210 * time.Second

// trouble is a bad version: how it is made, and why it does not stay.
type trouble struct {
	name, version, reason string
	publish               func(t *testing.T, c *channel, version string)
}

// allUpdates: each bad version by each firmware. That is an hour; else each is
// taken by one of them.
func allUpdates() bool { return os.Getenv("KS_ALL_UPDATES") == "1" }

// troubles are the bad versions with these indices, or all.
func troubles(series string, indices ...int) (out []trouble) {
	broken := func(code string) func(*testing.T, *channel, string) {
		return func(t *testing.T, c *channel, version string) {
			c.build(version, "kubesolo="+c.program("kubesolo", code))
		}
	}
	all := []trouble{
		{name: "panics", reason: "3 starts without a verdict: ", publish: func(t *testing.T, c *channel, version string) { c.bad(version, false) }},
		{name: "hangs", reason: "3 starts without a verdict: ", publish: func(t *testing.T, c *channel, version string) { c.bad(version, true) }},
		{name: "kubesolo crashes", reason: "service kubesolo is in a crash loop: ",
			publish: broken(`package main; import "os"; func main() { println("broken"); os.Exit(3) }`)},
		{name: "never Ready", reason: "not found good within " + deadline.String(),
			publish: broken(`package main; import "time"; func main() { time.Sleep(24 * time.Hour) }`)},
	}
	for i := range all {
		all[i].version = fmt.Sprintf("%s.%d", series, i)
		if allUpdates() || slices.Contains(indices, i) {
			out = append(out, all[i])
		}
	}
	return out
}

// badUpdates takes the node to each of the versions, and back.
func (n *node) badUpdates(t *testing.T, c *channel, bad []trouble, before string) {
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			b.publish(t, c, b.version)
			n.badUpdate(t, b.version, before, b.reason)
			if hung := strings.Count(n.Transcript(), "badinit: nobody feeds the watchdog"); b.name == "hangs" && hung != 3 {
				t.Errorf("it hung %d times, want 3", hung)
			}
		})
	}
}

// installed boots a copy of the disk image, with a stick that says where updates
// come from.
func installed(t *testing.T, c *channel, name string, uefi bool, more ...vmtest.Disk) *node {
	t.Helper()
	disk, stick := filepath.Join(t.TempDir(), "disk.img"), filepath.Join(t.TempDir(), "cidata.img")
	command(t, "cp", "--sparse=always", artefact(t, "kubesolo-os-amd64.img"), disk)
	if err := os.Truncate(disk, 8<<30); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "user-data")
	text := "#cloud-config\nupdate:\n  source: " + c.URL + "\n  deadline: " + deadline.String() + "\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.vfat", "-C", "-n", "CIDATA", stick, "2048")
	command(t, "mcopy", "-i", stick, config, "::user-data")
	return boot(t, vmtest.Config{
		Name: name, Disks: append([]vmtest.Disk{{Path: disk}, {Path: stick}}, more...), UEFI: uefi, Reboots: true,
		NIC:   &vmtest.NIC{Forward: []int{apiPort}},
		Extra: []string{"-device", "i6300esb", "-action", "watchdog=reset"},
	})
}

// osUpdate has a version installed the way of Kubernetes.
func (n *node) osUpdate(t *testing.T, version string) {
	t.Helper()
	object := map[string]any{
		"apiVersion": "os.kubesolo.io/v1alpha1", "kind": "OSUpdate",
		"metadata": map[string]any{"name": "to-" + version}, "spec": map[string]any{"version": version},
	}
	n.eventually(t, podLimit, "create OSUpdate", func(ctx context.Context) error {
		return n.api.Do(ctx, http.MethodPost, updateObjects, object, nil)
	})
}

// waitUpdate waits until an update is in a state, and gives the message.
func (n *node) waitUpdate(t *testing.T, version string, state update.Phase) string {
	t.Helper()
	e := n.waitEvent(t, readyLimit, func(e event.Event) bool {
		if e.Type == event.Update && e.Name == version && e.State == string(update.Failed) && state != update.Failed {
			t.Fatalf("update to %s: failed: %s", version, e.Message)
		}
		return e.Type == event.Update && e.Name == version && e.State == string(state)
	})
	return e.Message
}

func (n *node) goodUpdate(t *testing.T, version, slot string) {
	begun := time.Now()
	n.osUpdate(t, version)
	n.waitUpdate(t, version, update.Armed)
	armed := time.Now()
	n.waitUpdate(t, version, update.Judging)
	n.waitEvent(t, readyLimit, func(e event.Event) bool { return e.Type == event.Ready && e.Message == version })
	back := time.Now()
	t.Logf("%s: %s", version, n.waitUpdate(t, version, update.Good))
	s := n.workload(t, armed)
	t.Logf("downloaded and verified in %.0f s; down for %.0f s from the order to restart until Ready", armed.Sub(begun).Seconds(), back.Sub(armed).Seconds())
	n.succeeded(t, version, "Installed")
	if s.Version != version || s.Slots.Running != slot || s.Slots.Good != slot || s.Slots.OnTrial {
		t.Errorf("status %+v", s)
	}
}

// badUpdate ends Ready in the version from before, with the reason.
func (n *node) badUpdate(t *testing.T, version, before, reason string) {
	ordered := time.Now()
	n.osUpdate(t, version)
	n.waitUpdate(t, version, update.Armed)
	armed := time.Now()
	got := n.waitUpdate(t, version, update.RolledBack)
	back := time.Now()
	t.Logf("%s: armed after %.0f s, back after %.0f s more: %s", version, armed.Sub(ordered).Seconds(), back.Sub(armed).Seconds(), got)
	if !strings.HasPrefix(got, reason) {
		t.Errorf("the reason is %q, want %q", got, reason)
	}
	// The database of before comes with a restart of kubesolo.
	n.waitEvent(t, readyLimit, func(e event.Event) bool {
		return e.Type == event.Update && e.Name == version && strings.Contains(e.Message, "database of before restored")
	})
	restored := time.Now()
	s := n.workload(t, restored)
	t.Logf("%s: the database of before is restored after %.0f s, its workload there after %.0f s more",
		version, restored.Sub(back).Seconds(), time.Since(restored).Seconds())
	n.succeeded(t, version, "RolledBack")
	if _, refused := s.State.RefusedFor(version); s.Version != before || !refused || s.Slots.OnTrial || s.Slots.Trial != "" {
		t.Errorf("status %+v", s)
	}
}

// workload: the pod and the volume of before are there, in a node that is Ready.
// It gives the state of updates as ksctl tells it.
func (n *node) workload(t *testing.T, since time.Time) (s update.Status) {
	t.Helper()
	n.eventually(t, readyLimit, "Ready", func(ctx context.Context) error { return n.nodeReady(ctx, since) })
	n.eventually(t, readyLimit, "the workload", func(ctx context.Context) error {
		p, err := n.pod(ctx, "bystander")
		if err == nil && (p.Status.Phase != "Running" || !p.Status.ContainerStatuses[0].Ready) {
			err = fmt.Errorf("bystander: %+v", p.Status)
		}
		return err
	})
	text := n.privileged(t, fmt.Sprintf("after-update-%d", time.Now().Unix()), "cat /host/var/lib/kubesolo/local-path-storage/*/file; "+
		"chroot /host /usr/local/bin/ksctl update status -o json; [ $? -le 1 ]") // 1: the last one was taken back
	volume, status, _ := strings.Cut(text, "{")
	if !strings.Contains(volume, "kept on a volume") {
		t.Errorf("the volume holds %q", volume)
	}
	if err := json.Unmarshal([]byte("{"+status), &s); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}

// succeeded: the OSUpdate says how it went.
func (n *node) succeeded(t *testing.T, version, reason string) {
	t.Helper()
	n.eventually(t, podLimit, "OSUpdate to "+version, func(ctx context.Context) error {
		var o struct {
			Status struct {
				Phase      string
				Conditions []struct{ Type, Status, Reason, Message string }
			}
		}
		if err := n.api.Do(ctx, http.MethodGet, updateObjects+"/to-"+version, nil, &o); err != nil {
			return err
		}
		for _, c := range o.Status.Conditions {
			if c.Type == "Succeeded" && c.Reason == reason {
				return nil
			}
		}
		return fmt.Errorf("%+v", o.Status)
	})
}

// testHistory: what happened is told by ksctl, by metrics and by the Node's
// events.
func (n *node) testHistory(t *testing.T, slot string, bad []trouble) {
	t.Helper()
	text := n.privileged(t, "history", "chroot /host /usr/local/bin/ksctl update history; wget -qO- http://127.0.0.1:9186/metrics")
	want := []string{fmt.Sprintf("kubesolo_update_rollbacks_total %d", len(bad)),
		`kubesolo_os_info{version="0.4.0",slot="` + slot + `"} 1`, fmt.Sprintf("kubesolo_update_refused_versions %d", len(bad))}
	for _, b := range bad {
		want = append(want, b.version, b.reason)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
	var events struct {
		Items []struct{ Reason, Message string }
	}
	if err := n.api.Do(t.Context(), http.MethodGet, "/api/v1/events?fieldSelector=involvedObject.kind=Node", nil, &events); err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprint(events.Items)
	for _, want := range []string{"UpdateSucceeded", "UpdateRolledBack", "UpdateArmed"} {
		if !strings.Contains(said, want) {
			t.Errorf("no event %s in %s", want, said)
		}
	}
}
