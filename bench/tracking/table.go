//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
)

// A table has a row for each name, and a column for each time a name was added.
type table struct {
	names []string
	cells map[string][]string
}

func (t *table) add(name, cell string) {
	if t.cells == nil {
		t.cells = make(map[string][]string)
	}
	if t.cells[name] == nil {
		t.names = append(t.names, name)
	}
	t.cells[name] = append(t.cells[name], cell)
}

func (t *table) print(out io.Writer) {
	fmt.Fprintf(out, "| %-60s | %30s | %30s |\n", fmt.Sprintf("%d processes, %d keys, %d writes a case", processes, keys, writes), "default tracking", "BCAST by prefix")
	fmt.Fprintf(out, "|%s|%s:|%s:|\n", strings.Repeat("-", 62), strings.Repeat("-", 31), strings.Repeat("-", 31))
	for _, name := range t.names {
		c := t.cells[name]
		fmt.Fprintf(out, "| %-60s | %30s | %30s |\n", name, c[0], c[1])
	}
}
