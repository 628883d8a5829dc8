package audit

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print collects, and writes the report as "table" or "json", or what was looked
// at as "snapshot", for a report of a fault or a test: it holds modes of secret
// files, but nothing of what is in them. It gives the number of failed checks.
func Print(out io.Writer, form string, c Collector) (failed int, err error) {
	if form != "table" && form != "json" && form != "snapshot" {
		return 0, fmt.Errorf("-o %s: it is table, json or snapshot", form)
	}
	snapshot := c.Collect()
	report := Evaluate(snapshot)
	switch form {
	case "table":
		err = report.Table(out)
	case "json":
		err = report.JSON(out)
	default:
		return 0, json.NewEncoder(out).Encode(snapshot)
	}
	return len(report.Failed()), err
}

// Table writes one line a result, and a last one with the counts.
func (r Report) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tKIND\tCHECK\tFOUND\tREASON")
	count := map[State]int{}
	for _, c := range r {
		count[c.State]++
		found, reason := c.Got, c.Reason
		if found == "" {
			found = "-"
		}
		if c.State == Fail {
			reason += "; wanted: " + c.Want
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.State, c.Group, c.Name, found, reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d passed, %d failed, %d exempt\n", count[Pass], count[Fail], count[Exempt])
	return err
}

// JSON writes the report as one object.
func (r Report) JSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Failed int    `json:"failed"`
		Checks Report `json:"checks"`
	}{len(r.Failed()), r})
}

// Markdown is the part of docs/hardening.md that comes from the lists.
func Markdown() string {
	var b strings.Builder
	group := ""
	for _, c := range Checks() {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&b, "\n### %s%ss\n\n| check | read from | wanted | why | asked for by |\n|---|---|---|---|---|\n", strings.ToUpper(group[:1]), group[1:])
		}
		row(&b, code(c.Name), code(c.Source), c.Want, c.Why, c.Reference)
	}
	b.WriteString("\n### Sockets of the node\n\n| protocol | port | of | reachable | what |\n|---|---|---|---|---|\n")
	for _, p := range Ports() {
		number, reach := fmt.Sprint(p.Number), "from outside"
		if p.Number == 0 {
			number = "any"
		}
		if p.Loopback {
			reach = "on the node only"
		}
		row(&b, p.Protocol, number, p.Owner, reach, p.What)
	}
	b.WriteString("\n### Left as it is, and why\n\n| what | asked for by | reason |\n|---|---|---|\n")
	for _, e := range Exemptions() {
		row(&b, code(e.Name), e.From, e.Reason)
	}
	return b.String()
}

func row(b *strings.Builder, cells ...string) {
	for _, c := range cells {
		if c == "" {
			c = "-"
		}
		b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
	}
	b.WriteString("|\n")
}

func code(s string) string { return "`" + s + "`" }
