package cloudinit

import "strings"

// didYouMean names the known key that is nearest, if one is near.
func didYouMean(name string, keys []key) string {
	best, distance := "", 1+max(1, len(name)/3)
	for _, k := range keys {
		if k.later {
			continue
		}
		if d := editDistance(normal(name), normal(k.name)); d < distance {
			best, distance = k.name, d
		}
	}
	if best == "" {
		return "; it has no effect"
	}
	return "; it has no effect, did you mean " + best + "?"
}

// normal makes extra_sans, extraSans and extra-sans alike.
func normal(s string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
}

// editDistance is Levenshtein's. Keys longer than any known one are cut: the
// cost is bounded whatever the document holds.
func editDistance(a, b string) int {
	const longest = 40
	a, b = a[:min(len(a), longest)], b[:min(len(b), longest)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
