package small

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// matrixFile is what the test writes when it is asked to.
const matrixFile = "docs/power-cut-matrix.md"

// cutResult is one power cut and what came of it.
type cutResult struct {
	step    string
	lost    bool   // writes that the disk had not been told to keep were lost
	slot    string // that came up, "" when none did
	settled bool   // and the update came to its end
	failure error
}

// matrixTable is the part of a scenario.
type matrixTable struct {
	title   string
	results []cutResult
}

// matrix is the document. The steps are in the order of updateSteps, others
// after them as they come.
func matrix(head string, tables []matrixTable) string {
	var b strings.Builder
	b.WriteString(head)
	for _, t := range tables {
		fmt.Fprintf(&b, "\n## %s\n\n", t.title)
		b.WriteString("| the power goes when | cuts | with writes lost | A comes up | B comes up | to its end | nodes lost |\n|---|--:|--:|--:|--:|--:|--:|\n")
		steps := updateSteps()
		for _, r := range t.results {
			if !slices.Contains(steps, r.step) {
				steps = append(steps, r.step)
			}
		}
		for _, step := range steps {
			of := slices.DeleteFunc(slices.Clone(t.results), func(r cutResult) bool { return r.step != step })
			if len(of) > 0 {
				b.WriteString(matrixRow(step, of))
			}
		}
		b.WriteString(matrixRow("**all**", t.results))
	}
	return b.String()
}

func matrixRow(name string, results []cutResult) string {
	var lost, a, b, settled, failed int
	for _, r := range results {
		count := func(n *int, is bool) {
			if is {
				*n++
			}
		}
		count(&lost, r.lost)
		count(&a, r.slot == "A")
		count(&b, r.slot == "B")
		count(&settled, r.settled)
		count(&failed, r.failure != nil)
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d |\n", name, len(results), lost, a, b, settled, failed)
}

func TestMatrix(t *testing.T) {
	got := matrix("# Head\n", []matrixTable{{"Good", []cutResult{
		{step: "a step of its own", slot: "A"},
		{step: stepGood, slot: "B", settled: true},
		{step: stepNoted, lost: true, slot: "A"},
		{step: stepNoted, slot: "A", settled: true},
		{step: stepNoted, failure: fmt.Errorf("nothing comes up")},
	}}})
	want := `# Head

## Good

| the power goes when | cuts | with writes lost | A comes up | B comes up | to its end | nodes lost |
|---|--:|--:|--:|--:|--:|--:|
| the download is noted | 3 | 1 | 2 | 0 | 1 | 1 |
| good is noted | 1 | 0 | 0 | 1 | 1 | 0 |
| a step of its own | 1 | 0 | 1 | 0 | 0 | 0 |
| **all** | 5 | 1 | 3 | 1 | 2 | 1 |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// checkMatrix says in what a document is not one that this test writes: in each part
// each step has its row with enough cuts, both copies were torn and QEMU was killed,
// and no node was lost.
func checkMatrix(text string) error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	rows, part := map[string]map[string]int{}, ""
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			part = strings.TrimSpace(title)
			rows[part] = map[string]int{}
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 7 || strings.HasPrefix(cells[0], "-") || strings.Contains(cells[0], "the power goes when") || part == "" {
			continue
		}
		name, of, failed := strings.TrimSpace(cells[0]), 0, 0
		if _, err := fmt.Sscan(cells[1]+" "+cells[6], &of, &failed); err != nil || failed != 0 {
			complain("%s, %s: %d nodes lost, %v", part, name, failed, err)
		}
		if _, twice := rows[part][name]; twice || name != "**all**" && name != stepKilled && !slices.Contains(updateSteps(), name) {
			complain("%s: the row %q is there twice, or is of no step", part, name)
		}
		rows[part][name] = of
	}
	cuts := 0
	for _, k := range updateKinds() {
		for _, step := range k.steps {
			if rows[k.title][step] < leastCuts {
				complain("%s: %d cuts where %s, want %d", k.title, rows[k.title][step], step, leastCuts)
			}
		}
		if torn := rows[k.title][stepTorn]; torn != k.torn() {
			complain("%s: %d cuts where %s, want %d", k.title, torn, stepTorn, k.torn())
		}
		if rows[k.title][stepKilled] == 0 {
			complain("%s: no cut where %s", k.title, stepKilled)
		}
		cuts += rows[k.title]["**all**"] - rows[k.title][stepKilled]
		delete(rows, k.title)
	}
	for title := range rows {
		complain("a part %q, which is of no update", title)
	}
	if cuts < leastTotal {
		complain("%d cuts, want %d", cuts, leastTotal)
	}
	return errors.Join(errs...)
}

func TestCheckMatrix(t *testing.T) {
	tables := func(change func(i int, r *[]cutResult)) string {
		var out []matrixTable
		for i, k := range updateKinds() {
			var results []cutResult
			for _, step := range append(slices.Clone(k.steps), stepKilled) {
				for range 7 {
					results = append(results, cutResult{step: step, slot: "A"})
				}
			}
			for range k.torn() {
				results = append(results, cutResult{step: stepTorn, slot: "A"})
			}
			change(i, &results)
			out = append(out, matrixTable{k.title, results})
		}
		return matrix("# Head\n| a | b | c | d | e | f | g |\n", out)
	}
	without := func(part int, step string) func(int, *[]cutResult) {
		return func(i int, r *[]cutResult) {
			if i == part {
				*r = slices.DeleteFunc(*r, func(r cutResult) bool { return r.step == step })
			}
		}
	}
	for _, test := range []struct {
		change func(int, *[]cutResult)
		want   string
	}{
		{func(int, *[]cutResult) {}, ""},
		{without(1, stepVerdict), "0 cuts where the verdict is kept, want 3"},
		{without(2, stepTorn), "0 cuts where " + stepTorn},
		{without(0, stepKilled), "no cut where QEMU is killed"},
		{func(i int, r *[]cutResult) { (*r)[0].failure = errors.New("lost") }, "1 nodes lost"},
		{func(i int, r *[]cutResult) { (*r)[0].step = "of its own" }, "of no step"},
		{func(i int, r *[]cutResult) {
			seen := map[string]int{}
			*r = slices.DeleteFunc(*r, func(r cutResult) bool { seen[r.step]++; return seen[r.step] > leastCuts })
		}, "cuts, want 200"},
	} {
		err := checkMatrix(tables(test.change))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
	}
}

// The document was written by this test as it is, with enough cuts, and no node
// was lost.
func TestMatrixIsWhatThisTestWrites(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository(t), matrixFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkMatrix(string(text)); err != nil {
		t.Errorf("%s: %v\nWrite it anew with -updatematrix.", matrixFile, err)
	}
}
