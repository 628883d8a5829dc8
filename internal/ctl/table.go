package ctl

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"kubesolo.io/os/internal/config"
)

// row is one value of a configuration.
type row struct{ path, value string }

// table prints one line a value, sorted by path.
func (p Program) table(c config.Config, o config.Origins, origins bool) error {
	rows, err := rowsOf(c)
	if err != nil {
		return err
	}
	// What was said explicitly is shown even where it is the same as nothing.
	for path := range o {
		if !slices.ContainsFunc(rows, func(r row) bool { return below(r.path, path) }) {
			rows = append(rows, row{path, "-"})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.path, b.path) })
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	heads := []string{"NAME", "VALUE"}
	if origins {
		heads = append(heads, "ORIGIN")
	}
	fmt.Fprintln(w, strings.Join(heads, "\t"))
	for _, r := range rows {
		cells := []string{r.path, oneLine(r.value)}
		if origins {
			cells = append(cells, originOf(r.path, o))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// originOf is the origin of the value, or of what it is a part of: the network
// of a source is one value.
func originOf(path string, o config.Origins) string {
	best := ""
	for at := range o {
		if below(path, at) && len(at) > len(best) {
			best = at
		}
	}
	if best == "" {
		return "-"
	}
	return o[best]
}

func below(path, at string) bool { return path == at || strings.HasPrefix(path, at+".") }

// rowsOf takes the JSON form apart, so that no field can be forgotten here.
func rowsOf(c config.Config) ([]row, error) {
	files := c.WriteFiles
	c.WriteFiles = nil
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	var rows []row
	if network, ok := v["network"].(map[string]any); ok {
		links, _ := network["links"].([]any)
		for _, l := range links {
			if link, ok := l.(map[string]any); ok {
				id := fmt.Sprint(link["id"])
				delete(link, "id")
				rows = flatten(rows, "network."+id, link)
			}
		}
		delete(v, "network")
	}
	for _, f := range files {
		rows = append(rows, row{"write-files." + f.Path, fmt.Sprintf("mode %04o", f.Permissions)})
	}
	return flatten(rows, "", v), nil
}

func flatten(rows []row, at string, v any) []row {
	m, ok := v.(map[string]any)
	if !ok {
		return append(rows, row{at, text(v)})
	}
	if len(m) == 0 && at != "" {
		return append(rows, row{at, "-"})
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		path := name
		if at != "" {
			path = at + "." + name
		}
		rows = flatten(rows, path, m[name])
	}
	return rows
}

// text gives a list in one line, and the fields of its elements as key=value.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case []any:
		if len(v) == 0 {
			return "-"
		}
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = text(e)
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		if dst, ok := v["dst"].(string); ok {
			return route(dst, v)
		}
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+"="+text(v[name]))
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprint(v)
}

// route gives a route in the words of iproute2.
func route(dst string, fields map[string]any) string {
	if dst == "0.0.0.0/0" || dst == "::/0" {
		dst = "default"
	}
	for _, name := range []string{"via", "metric"} {
		if v := fields[name]; v != nil {
			dst += fmt.Sprintf(" %s %v", name, v)
		}
	}
	if fields["on-link"] == true {
		dst += " onlink"
	}
	return dst
}

// oneLine cuts what is longer than a cell of a table should be; -o json has it
// whole.
func oneLine(s string) string {
	const most = 72
	if line := printable(s); len(line) > most {
		return line[:most] + "..."
	} else if line != "" {
		return line
	}
	return "-"
}

// printable is the first line of a text, with what could move the cursor quoted.
func printable(s string) string {
	first, more, _ := strings.Cut(s, "\n")
	if strings.ContainsFunc(first, func(r rune) bool { return !unicode.IsPrint(r) }) {
		first = strconv.Quote(first)
	}
	if more != "" {
		first += " ..."
	}
	return first
}
