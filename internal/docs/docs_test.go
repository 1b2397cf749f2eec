// What the pages show in Go is compiled and run somewhere in the repository, and their links lead
// to something.
package docs_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dogpile-go/dogpile/internal/docs"
)

// repository is the whole of it.
var repository = os.DirFS("../..")

// front is the page from which all others have to be found.
const front = "docs/README.md"

// read returns the lines of the files of which take says yes, by their paths.
func read(t *testing.T, files fs.FS, take func(name string) bool) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if base := d.Name(); name != "." && strings.HasPrefix(base, ".") || base == "node_modules" || base == "testdata" {
				return fs.SkipDir
			}
		case take(name):
			text, err := fs.ReadFile(files, name)
			if err != nil {
				return err
			}
			found[name] = strings.Split(string(text), "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func isPage(name string) bool { return path.Ext(name) == ".md" }

// isExample reports whether tests compile a file, and run it where there is an output to compare.
func isExample(name string) bool {
	base := path.Base(name)
	return path.Ext(name) == ".go" &&
		(strings.HasPrefix(name, "examples/") || strings.Contains(base, "example") && strings.HasSuffix(base, "_test.go"))
}

// elided is a line of a block that stands for any number of lines.
const elided = "// …"

// shows reports whether a block stands in a file, line for line: each part of it, from one
// elision to the next, at the same depth and in the same order.
func shows(file, lines []string) bool {
	lines = dedented(lines)
	for at, line := range file {
		for tabs := len(line) - len(strings.TrimLeft(line, "\t")); tabs >= 0; tabs-- {
			if follows(file[at:], lines, line[:tabs]) {
				return true
			}
		}
	}
	return false
}

// follows reports whether the lines stand at the beginning of a file, at a depth.
func follows(file, lines []string, depth string) bool {
	for i, line := range lines {
		if strings.TrimSpace(line) == elided {
			rest := lines[i+1:]
			for at := i; at <= len(file); at++ {
				if follows(file[at:], rest, depth) {
					return true
				}
			}
			return false
		}
		if i >= len(file) || !same(file[i], line, depth) {
			return false
		}
	}
	return true
}

// same compares a line of a file with one of a block. A page may call the package of an example
// what its readers would call it.
func same(file, line, depth string) bool {
	if line == "" {
		return file == ""
	}
	return file == depth+line || strings.HasPrefix(file, "package ") && strings.HasPrefix(line, "package ")
}

// dedented removes the indentation that all lines have.
func dedented(lines []string) []string {
	for {
		for _, line := range lines {
			if line != "" && line[0] != '\t' {
				return lines
			}
		}
		if strings.Join(lines, "") == "" {
			return lines
		}
		lines = slices.Clone(lines)
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], "\t")
		}
	}
}

// indentedGo is a line that looks like Go in a block that is indented, and not between fences.
var indentedGo = regexp.MustCompile(`^(\t| {4,})\s*(package \w+$|import [("]|func [\w(]|defer \w|if err\b|[\w, ]+:= |.*\w\.\w+\(.*\)$)`)

// codeFaults tells which blocks of Go code stand in no example, and which code is in no block.
func codeFaults(t *testing.T, files fs.FS) (faults []string) {
	t.Helper()
	examples := read(t, files, isExample)
	pages := read(t, files, func(name string) bool { return name == "README.md" || isPage(name) && path.Dir(name) == "docs" })
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		found, rest := docs.Blocks(pages[name])
		for at, line := range rest {
			if indentedGo.MatchString(line) {
				faults = append(faults, fmt.Sprintf("%s:%d: Go that is indented; it belongs between fences", name, at+1))
			}
		}
		for _, b := range found {
			if b.Language != "go" {
				continue
			}
			stands := func(file []string) bool { return len(b.Lines) > 0 && shows(file, b.Lines) }
			if !slices.ContainsFunc(slices.Collect(maps.Values(examples)), stands) {
				faults = append(faults, fmt.Sprintf("%s:%d: the code stands in no example", name, b.Line))
			}
		}
	}
	return faults
}

func TestTheCodeOfThePagesIsThatOfExamples(t *testing.T) {
	t.Parallel()
	for _, fault := range codeFaults(t, repository) {
		t.Error(fault)
	}
}

func TestGoThatIsIndentedIsFound(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"    metrics := dogpileprom.NewCollector()": true, "\tprometheus.MustRegister(metrics)": true, "    v, err := price.Call(ctx, \"tea\")": true,
		"    func main() {": true, "    package main": true, "        if err != nil {": true, "    import \"fmt\"": true,
		"    dogpile get --config app.toml": false, "    go install github.com/dogpile-go/dogpile/cmd/dogpile@latest": false,
		"    if it is there, `a := b()` makes one": false, "metrics := none()": false, "  of a list (see below)": false,
		"    source <(dogpile completion bash)": false, "    memcached://host1:11211,host2*2/?hash=ketama   has twice as many": false,
	} {
		faults := codeFaults(t, fstest.MapFS{"docs/page.md": {Data: []byte("# Page\n\n" + line + "\n\n```text\n    a := b()\n```\n")}})
		if got := slices.Equal(faults, []string{"docs/page.md:3: Go that is indented; it belongs between fences"}); got != want || !want && len(faults) > 0 {
			t.Errorf("%q: %q", line, faults)
		}
	}
}

func TestCodeThatIsInNoExampleIsFound(t *testing.T) {
	t.Parallel()
	const example = "package a_test\n\nfunc Example() {\n\tone()\n\tif two() {\n\t\tthree()\n\n\t\tfour()\n\t}\n}\n"
	for name, row := range map[string]struct {
		code string
		file string // where the example is
		ok   bool
	}{
		"the same":                    {"one()\nif two() {\n\tthree()\n", "example_test.go", true},
		"with an empty line":          {"three()\n\nfour()\n", "a/example_b_test.go", true},
		"indented as in its function": {"\tone()\n", "a/b_example_test.go", true},
		"a program":                   {"one()\n", "examples/a/main.go", true},
		"another package clause":      {"package tiny\n\nfunc Example() {\n", "example_test.go", true},
		"lines left out":              {"one()\n// …\n\tfour()\n}\n", "example_test.go", true},
		"none left out":               {"one()\n// …\nif two() {\n", "example_test.go", true},
		"the end left out":            {"one()\n// …\n", "example_test.go", true},
		"a changed line":              {"one()\nif tow() {\n\tthree()\n", "example_test.go", false},
		"a changed comment":           {"one() // once\n", "example_test.go", false},
		"a line too few":              {"three()\nfour()\n", "example_test.go", false},
		"a line too many":             {"one()\n\nif two() {\n", "example_test.go", false},
		"more than the file":          {"}\n}\n}\n", "example_test.go", false},
		"another depth":               {"one()\nif two() {\nthree()\n", "example_test.go", false},
		"another order":               {"three()\n// …\none()\n", "example_test.go", false},
		"another depth further on":    {"one()\n// …\nfour()\n", "example_test.go", false},
		"nothing":                     {"", "example_test.go", false},
		"in code that no test runs":   {"one()\n", "a/main.go", false},
	} {
		for _, page := range []string{"README.md", "docs/page.md"} {
			faults := codeFaults(t, fstest.MapFS{
				page:     {Data: []byte("# Page\n\n```toml\nno = 'code'\n```\n\n```go\n" + row.code + "```\n")},
				row.file: {Data: []byte(example)},
			})
			want := []string{page + ":7: the code stands in no example"}
			if row.ok {
				want = nil
			}
			if !slices.Equal(faults, want) {
				t.Errorf("%s: %q", name, faults)
			}
		}
	}
}
