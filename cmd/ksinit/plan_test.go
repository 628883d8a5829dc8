package main

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	goldenPlan = "testdata/plan.golden"
	bootDoc    = "../../docs/boot.md"
	planBegin  = "<!-- plan:begin (go test ./cmd/ksinit -update) -->\n```text\n"
	planEnd    = "```\n<!-- plan:end -->"
)

// TestPlan keeps two copies of `ksinit -plan` honest: a golden file, whose
// change a reviewer sees, and the block in docs/boot.md. -update writes both.
func TestPlan(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	text, err := plan()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(bootDoc)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := strings.Index(string(doc), planBegin), strings.Index(string(doc), planEnd)
	if begin < 0 || end < begin {
		t.Fatalf("%s lacks the marks %q and %q", bootDoc, planBegin, planEnd)
	}
	begin += len(planBegin)
	if update {
		if err := os.WriteFile(goldenPlan, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bootDoc, []byte(string(doc[:begin])+text+string(doc[end:])), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	golden, err := os.ReadFile(goldenPlan)
	if err != nil {
		t.Fatal(err)
	}
	if string(golden) != text {
		t.Errorf("the plan has changed; review it and run with -update:\n%s", text)
	}
	if string(doc[begin:end]) != text {
		t.Errorf("%s tells another plan; run with -update", bootDoc)
	}
}

// The phases must fit in the time after which the machine is cut off.
func TestDownLimits(t *testing.T) {
	var sum time.Duration
	for _, p := range downPhases(&node{}, restartNode) {
		sum += p.limit
	}
	if sum > downLimit {
		t.Errorf("the phases may take %v, the limit is %v", sum, downLimit)
	}
	for _, s := range services("external", true, nil) {
		for _, p := range downPhases(&node{}, restartNode) {
			if p.name == s.Name && s.Stop.Grace+s.Stop.Again >= p.limit {
				t.Errorf("%s may take %v to stop, its phase %v", s.Name, s.Stop.Grace+s.Stop.Again, p.limit)
			}
		}
	}
}
