package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// matrixFile is what TestUpdatePowerCuts writes.
const matrixFile = "docs/power-cut-matrix.md"

// powerCuts takes the figure of the power cuts from the document of the run that
// made them: half an hour of both processors, which a bench does not repeat.
func (b *bench) powerCuts() error {
	text, err := os.ReadFile(matrixFile)
	if err != nil {
		return err
	}
	cuts, lost, err := sumCuts(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", matrixFile, err)
	}
	b.add(figure{Name: "power cuts in updates: nodes lost", Value: float64(lost), Unit: fmt.Sprintf("of %d", cuts), Must: "0", Aim: "0",
		Note: "not in this run: " + matrixFile})
	return nil
}

// sumCuts adds up the tables' rows of sums: cuts come second, nodes lost last.
func sumCuts(text string) (cuts, lost int, err error) {
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), "|")
		if strings.TrimSpace(cells[0]) != "**all**" {
			continue
		}
		if len(cells) < 3 {
			return 0, 0, fmt.Errorf("row %q: cells are missing", strings.TrimSpace(line))
		}
		var c, l int
		if _, err := fmt.Sscan(cells[1]+" "+cells[len(cells)-1], &c, &l); err != nil {
			return 0, 0, fmt.Errorf("row %q: %w", strings.TrimSpace(line), err)
		}
		cuts, lost = cuts+c, lost+l
	}
	if cuts == 0 {
		return 0, 0, errors.New("no row of sums: write it anew with -updatematrix")
	}
	return cuts, lost, nil
}
