package policy

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table prints the gates for people, one a line.
func Table(out io.Writer, gates []Gate) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GATE\tSTATE\tREASON")
	for _, g := range gates {
		reason := g.Reason
		if !g.Open && Forceable(g.Name) {
			reason += " (--force opens it)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", g.Name, g.state(), reason)
	}
	return w.Flush()
}

func (g Gate) state() string {
	switch {
	case g.Forced:
		return "forced"
	case g.Open:
		return "open"
	}
	return "closed"
}
