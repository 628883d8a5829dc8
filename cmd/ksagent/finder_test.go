package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"oras.land/oras-go/v2/content"

	"kubesolo.io/os/internal/config"
	"kubesolo.io/os/internal/control"
	"kubesolo.io/os/internal/update"
	"kubesolo.io/os/internal/update/fetch"
	"kubesolo.io/os/internal/update/target"
	"kubesolo.io/os/internal/update/trust"
)

// A registry's artifacts are the same signed repository that a web server has, and
// the node judges them the same way: every case runs over both, from the agent's
// own look for an update to the bytes in the slot, and wants the same of both.
func TestSourcesAreJudgedAlike(t *testing.T) {
	w := newSigned(t)
	for name, start := range map[string]func(*testing.T) *place{"http": startServer, "registry": startStorage} {
		t.Run(name, func(t *testing.T) {
			for name, run := range map[string]func(*testing.T, *signed, *place){
				"what is signed is installed": installs, "bits flipped in the slot image": flippedImage,
				"another image under its name": anotherImage, "bits flipped in metadata": flippedMetadata,
				"a person's look is told why not now": notNow, "another repository": anotherRepository, "an older state": olderState, "keys that were replaced": olderKeys,
			} {
				t.Run(name, func(t *testing.T) { run(t, w, start(t)) })
			}
		})
	}
}

func installs(t *testing.T, w *signed, p *place) {
	n := newNode(t, w, p)
	before := n.read()
	for _, step := range []struct{ dir, version string }{
		{w.first, "0.2.0"}, {w.second, "0.3.0"},
		{w.third, "0.4.0"}, // all keys are new: the node gets there from the first root alone
	} {
		p.publish(step.dir)
		offer, err := n.find()
		wantErr(t, err, nil)
		if p := offer.Payload; p.Version != step.version || p.SHA256 != fmt.Sprintf("%x", sha256.Sum256(w.images[step.version])) {
			t.Fatalf("offered %+v, want %s", p, step.version)
		}
		wantErr(t, n.fetch(offer.Payload), nil)
		image := w.images[step.version]
		if got := n.read(); !bytes.Equal(got[:len(image)], image) || !bytes.Equal(got[len(image):], before[len(image):]) {
			t.Errorf("the slot does not have %s, or something else behind it", step.version)
		}
		wantErr(t, target.Verify(t.Context(), n.slot, offer.Payload), nil)
		wantErr(t, target.Verify(t.Context(), n.slot, update.Payload{}), nil)
		n.current = step.version
		_, err = n.find()
		wantErr(t, err, update.ErrNothingNew)
	}
}

func flippedImage(t *testing.T, w *signed, p *place) {
	p.publish(w.first)
	size := len(w.images["0.2.0"])
	// The sector that makes a slot of it, the rest of what is written last, what is
	// written at once, and the end.
	for _, at := range []int{0, 600, size / 2, size - 1} {
		n := newNode(t, w, p)
		offer, err := n.find()
		wantErr(t, err, nil)
		file := p.kept("targets/" + offer.Payload.SHA256 + "." + offer.Payload.Name)
		flip(t, file, at)
		wantErr(t, n.fetch(offer.Payload), fetch.ErrContent)
		n.wantNoSlot(offer.Payload)
		// What was refused is not gone on with: once the place is good again, so is
		// the slot.
		flip(t, file, at)
		wantErr(t, n.fetch(offer.Payload), nil)
		wantErr(t, target.Verify(t.Context(), n.slot, offer.Payload), nil)
	}
}

// anotherImage: the registry's own digest is right, the signed hash is not.
func anotherImage(t *testing.T, w *signed, p *place) {
	p.publish(w.exchanged)
	n := newNode(t, w, p)
	offer, err := n.find()
	wantErr(t, err, nil)
	wantErr(t, n.fetch(offer.Payload), fetch.ErrContent)
	n.wantNoSlot(offer.Payload)
}

// notNow: gates hold back what the node would do by itself. There is no cluster here
// whose label could be read.
func notNow(t *testing.T, w *signed, p *place) {
	p.publish(w.first)
	f, _ := newNode(t, w, p).finder()
	for verb, want := range map[update.Verb]string{update.Check: "label: ", update.Apply: ""} {
		offer, err := f.find(t.Context(), update.Query{Order: update.Order{Verb: verb, Source: p.address, Channel: "stable", By: "ksctl"}, Current: "0.1.0"})
		wantErr(t, err, nil)
		if offer.Payload.Version != "0.2.0" || (want == "") != (offer.Later == "") || !strings.Contains(offer.Later, want) {
			t.Errorf("%s: %s, later: %q", verb, offer.Payload.Version, offer.Later)
		}
	}
}

func flippedMetadata(t *testing.T, w *signed, p *place) {
	p.publish(w.first)
	for _, name := range []string{"timestamp.json", "1.snapshot.json", "1.targets.json"} {
		n := newNode(t, w, p)
		file := p.kept("metadata/" + name)
		flip(t, file, 30)
		// A registry's client finds it by the digest, before trust is asked.
		_, err := n.find()
		wantErr(t, err, trust.ErrDamaged, trust.ErrSignature, content.ErrMismatchedDigest)
		n.wantOffered()
		flip(t, file, 30)
		_, err = n.find()
		wantErr(t, err, nil)
		n.wantOffered("0.2.0")
	}
}

func anotherRepository(t *testing.T, w *signed, p *place) {
	for _, dir := range []string{w.foreign, w.foreignRotated} {
		p.publish(w.first)
		n := newNode(t, w, p)
		offer, err := n.find()
		wantErr(t, err, nil)
		p.publish(dir)
		n.refuses(trust.ErrSignature, offer.Payload)
		// A node that never saw the right one has no more to go by than the root.
		fresh := newNode(t, w, p)
		_, err = fresh.find()
		wantErr(t, err, trust.ErrSignature)
		fresh.wantOffered()
	}
}

func olderState(t *testing.T, w *signed, p *place) {
	goesBack(t, w, p, w.second, w.first, trust.ErrRollback)
}

func olderKeys(t *testing.T, w *signed, p *place) {
	goesBack(t, w, p, w.third, w.second, trust.ErrSignature)
}

func goesBack(t *testing.T, w *signed, p *place, newer, older string, want error) {
	t.Helper()
	p.publish(newer)
	n := newNode(t, w, p)
	offer, err := n.find()
	wantErr(t, err, nil)
	p.publish(older)
	// A node that does not know better takes it: it is what the node has seen that
	// makes it old.
	_, err = newNode(t, w, p).find()
	wantErr(t, err, nil)
	n.refuses(want, offer.Payload)
	p.publish(newer)
	wantErr(t, n.fetch(offer.Payload), nil)
	wantErr(t, target.Verify(t.Context(), n.slot, offer.Payload), nil)
}

// node is one whose image has the first root, with a file for its passive slot.
type node struct {
	t       *testing.T
	p       *place
	root    []byte
	dir     string
	slot    string
	current string
}

func newNode(t *testing.T, w *signed, p *place) *node {
	t.Helper()
	n := &node{t: t, p: p, root: w.root, dir: t.TempDir(), current: "0.1.0"}
	n.slot = filepath.Join(n.dir, "slot")
	// A whole slot of before, so that one that is none later was made so.
	if err := os.WriteFile(n.slot, slotImage("before", slotSize), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// finder is the agent's, after a restart: what is trusted comes from the disk.
func (n *node) finder() (*finder, *trust.Client) {
	n.t.Helper()
	client, err := trust.Open(trust.Options{Dir: filepath.Join(n.dir, "trust"), Root: n.root, Now: time.Now})
	if err != nil {
		n.t.Fatal(err)
	}
	u := &updater{agent: &agent{log: slog.New(slog.DiscardHandler)}, engine: update.New(update.Options{Version: n.current}), version: n.current}
	return &finder{u: u, client: func() (*trust.Client, error) { return client, nil }}, client
}

func (n *node) find() (update.Offer, error) {
	n.t.Helper()
	f, _ := n.finder()
	// By: an order, of which no gate is asked. The configuration is not this machine's.
	return f.find(n.t.Context(), update.Query{Order: update.Order{Source: n.p.address, Channel: "stable", By: "test"}, Current: n.current})
}

// fetch does what an offer's Fetch does, with the record in another place than
// that of a real node.
func (n *node) fetch(p update.Payload) error {
	n.t.Helper()
	f, client := n.finder()
	chosen, err := target.Choose(client.Targets(), update.Query{Exactly: &p}, architecture, "stable")
	if err != nil {
		n.t.Fatal(err)
	}
	src, release, err := f.open(n.t.Context(), n.p.address, config.Update{Channel: "stable"})
	if err != nil {
		n.t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancelCause(n.t.Context())
	defer cancel(nil)
	o := f.fetchOptions(src, target.Payload(chosen, n.p.address), control.Passive{Device: n.slot, Size: slotSize}, nil)
	o.State = filepath.Join(n.dir, "download.json")
	// Nothing here may pass by waiting: what is tried again was not refused.
	o.Failed = func(err error, _ time.Duration) { cancel(fmt.Errorf("to be tried again: %w", err)) }
	return fetch.Fetch(ctx, o)
}

func (n *node) read() []byte {
	n.t.Helper()
	data, err := os.ReadFile(n.slot)
	if err != nil {
		n.t.Fatal(err)
	}
	return data
}

// refuses: what the place has now is refused, what was trusted before still is, and
// the place cannot write a byte into the slot.
func (n *node) refuses(want error, trusted update.Payload) {
	n.t.Helper()
	before := n.read()
	for range 2 { // the second time from what the refusal left on the disk
		_, err := n.find()
		wantErr(n.t, err, want)
		_, client := n.finder()
		if !slices.ContainsFunc(client.Targets(), func(t trust.Target) bool { return t.SHA256 == trusted.SHA256 }) {
			n.t.Error("what was trusted is so no more")
		}
		wantErr(n.t, n.fetch(trusted), fs.ErrNotExist)
	}
	if !bytes.Equal(n.read(), before) {
		n.t.Error("the slot was written")
	}
}

func (n *node) wantOffered(versions ...string) {
	n.t.Helper()
	_, client := n.finder()
	var got []string
	for _, t := range client.Targets() {
		got = append(got, t.Version)
	}
	if !slices.Equal(got, versions) {
		n.t.Errorf("trusted are %q, want %q", got, versions)
	}
}

// wantNoSlot: neither the signed image nor anything that could be started.
func (n *node) wantNoSlot(p update.Payload) {
	n.t.Helper()
	wantErr(n.t, target.Verify(n.t.Context(), n.slot, p), fetch.ErrSlot)
	wantErr(n.t, target.Verify(n.t.Context(), n.slot, update.Payload{}), fetch.ErrSlot)
	if !bytes.Equal(n.read()[:512], make([]byte, 512)) {
		n.t.Error("the sector that makes a slot of it was written")
	}
}

// wantErr wants one of the errors; nil for none.
func wantErr(t *testing.T, err error, wanted ...error) {
	t.Helper()
	if !slices.ContainsFunc(wanted, func(want error) bool { return errors.Is(err, want) }) {
		t.Fatalf("error %v, want %v", err, wanted)
	}
}
