// Package docs reads the pages of the documentation, for tests.
package docs

import (
	"slices"
	"strings"
)

// Block is what stands between two fences of a page.
type Block struct {
	Language string   // what the first fence says: "go", "sh", "text", …
	Line     int      // of the first fence, from 1
	Lines    []string // without the fences
}

// Text returns the lines of b, each with its end.
func (b Block) Text() string {
	if len(b.Lines) == 0 {
		return ""
	}
	return strings.Join(b.Lines, "\n") + "\n"
}

// Blocks returns the blocks of a page, and the lines of the page with empty ones in their place.
func Blocks(page []string) (found []Block, rest []string) {
	rest = slices.Clone(page)
	open := false
	for i, line := range page {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !open:
			found, open = append(found, Block{Language: language, Line: i + 1}), true
		case fence:
			open = false
		case open:
			b := &found[len(found)-1]
			b.Lines = append(b.Lines, line)
		default:
			continue
		}
		rest[i] = ""
	}
	return found, rest
}
