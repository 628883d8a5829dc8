package main

import "testing"

func TestSumCuts(t *testing.T) {
	cuts, lost, err := sumCuts("# Head\n\n| the power goes when | cuts | nodes lost |\n|---|--:|--:|\n| a | 3 | 0 |\n| **all** | 80 | 0 |\n\n| **all** | 70 | 2 |\n")
	if err != nil || cuts != 150 || lost != 2 {
		t.Errorf("%d cuts, %d lost, %v", cuts, lost, err)
	}
	for _, bad := range []string{"", "| **all** | many | 0 |\n", "| **all** |\n"} {
		if cuts, lost, err := sumCuts(bad); err == nil {
			t.Errorf("%q: %d cuts, %d lost", bad, cuts, lost)
		}
	}
}
