package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// printTable writes rows as a table in Markdown with aligned columns. The
// first row is the head. Every column but the first is aligned to the right.
func printTable(out io.Writer, title string, rows [][]string) {
	fmt.Fprintf(out, "\n## %s\n\n", title)
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		fmt.Fprintln(out, "| "+strings.Join(pad(row, width), " | ")+" |")
		if n == 0 {
			fmt.Fprintln(out, rule(width))
		}
	}
}

func pad(row []string, width []int) []string {
	cells := make([]string, len(row))
	for i, cell := range row {
		space := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
		if i == 0 {
			cells[i] = cell + space
		} else {
			cells[i] = space + cell
		}
	}
	return cells
}

func rule(width []int) string {
	var b strings.Builder
	for i, w := range width {
		if i == 0 {
			b.WriteString("|" + strings.Repeat("-", w+2))
		} else {
			b.WriteString("|" + strings.Repeat("-", w+1) + ":")
		}
	}
	return b.String() + "|"
}
