package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/docs"
)

// page returns the blocks of docs/start.md before the second program.
func page(t *testing.T) []docs.Block {
	t.Helper()
	text, err := os.ReadFile("../../../docs/start.md")
	if err != nil {
		t.Fatal(err)
	}
	first, _, found := strings.Cut(string(text), "\n## Two processes\n")
	if !found {
		t.Fatal("the page has no second part")
	}
	blocks, _ := docs.Blocks(strings.Split(first, "\n"))
	return blocks
}

// Each step of the page takes the place of the "// …" in the step before it. Together they are
// the program, and what the page shows is what it prints.
func TestThePageIsTheProgram(t *testing.T) {
	const more = "\t// …\n"
	program, output := more, ""
	for _, b := range page(t) {
		switch b.Language {
		case "go":
			if !strings.Contains(program, more) {
				t.Errorf("line %d: there is no place for it", b.Line)
			}
			program = strings.Replace(program, more, b.Text(), 1)
		case "text":
			output += b.Text()
		}
	}
	if source, err := os.ReadFile("main.go"); err != nil || string(source) != program {
		t.Errorf("main.go is not the program of the page, %v", err)
	}
	if got := printed(t); got != output {
		t.Errorf("it prints\n%sand the page shows\n%s", got, output)
	}
}

// printed runs the program in a bubble, where nothing takes time, and returns what it prints.
func printed(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "output")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = file
	defer func() { os.Stdout = stdout }()
	region = dogpile.NewRegion("shop") // a region is configured once, and this may be the second run
	price = dogpile.NewFunc(region, "price", query, nil)
	prices["tea"] = 3
	synctest.Test(t, func(*testing.T) { main() })
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}
