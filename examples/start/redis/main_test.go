//go:build unix

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/internal/docs"
)

func TestMain(m *testing.M) { backendtest.Main(m) }

// page returns the blocks of docs/start.md from the second program on.
func page(t *testing.T) []docs.Block {
	t.Helper()
	text, err := os.ReadFile("../../../docs/start.md")
	backendtest.OK(t, err)
	_, second, found := strings.Cut(string(text), "\n## Two processes\n")
	if !found {
		t.Fatal("the page has no second part")
	}
	blocks, _ := docs.Blocks(strings.Split(second, "\n"))
	return blocks
}

// The page has the whole program, and each of its commands prints what is shown below it.
func TestThePageIsTheProgram(t *testing.T) {
	steps := page(t)
	source, err := os.ReadFile("main.go")
	backendtest.OK(t, err)
	if steps[0].Language != "go" || steps[0].Text() != string(source) {
		t.Error("main.go is not the program of the page")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "shop"), ".")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	// On a machine that is busy the second of two processes may begin when the first has ended.
	for range 5 {
		if follow(t, dir, steps[1:]) {
			return
		}
	}
	t.Error("the page shows something else")
}

// follow does what the page says with a server of its own, and reports whether everything was
// printed that the page shows.
func follow(t *testing.T, dir string, steps []docs.Block) bool {
	t.Helper()
	url := backendtest.Redis(t)
	socket, _ := strings.CutPrefix(url, "unix://")
	printed := ""
	for _, b := range steps {
		switch {
		case b.Language == "text":
			if printed != b.Text() {
				t.Logf("line %d: it prints\n%sand the page shows\n%s", b.Line, printed, b.Text())
				return false
			}
		case b.Language != "sh":
			t.Fatalf("line %d: what is %q?", b.Line, b.Language)
		case strings.Contains(b.Text(), "redis-server "): // and the program, which are there
		default:
			shell := exec.Command("sh", "-e", "-c", strings.Replace(b.Text(), "redis-cli ", "redis-cli -s "+socket+" ", 1))
			shell.Dir, shell.Env, shell.Stderr = dir, append(os.Environ(), "REDIS_URL="+url), os.Stderr
			text, err := shell.Output()
			if err != nil {
				t.Fatalf("line %d: %v", b.Line, err)
			}
			printed = string(text)
		}
	}
	return true
}
