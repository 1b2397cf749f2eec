package docs_test

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/dogpile-go/dogpile/internal/docs"
)

var (
	codeSpan = regexp.MustCompile("`[^`]*`")
	link     = regexp.MustCompile(`\[[^\]]*\]\(\s*([^)\s]+)[^)]*\)`)
	heading  = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	mention  = regexp.MustCompile(`(^|[^\w/.(])(docs/[\w-]+\.md)(#[\w-]+)?`)
	absolute = regexp.MustCompile(`^([a-z]+:|//)`)
)

// anchors returns the names of the headings of a page, as GitHub makes them.
func anchors(page []string) map[string]bool {
	_, page = docs.Blocks(page)
	found := map[string]bool{}
	for _, line := range page {
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		text := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1")
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, text)
		unique := name
		for n := 1; found[unique]; n++ {
			unique = fmt.Sprintf("%s-%d", name, n)
		}
		found[unique] = true
	}
	return found
}

// target is where a link of a page leads to.
type target struct {
	at           int // the line of the link, from 1
	path, anchor string
}

// targets returns the links of a page to others of the repository, and to itself.
func targets(name string, page []string) (found []target) {
	text := strings.Join(prose(page), "\n") // a link may begin on one line and end on the next
	for _, m := range link.FindAllStringSubmatchIndex(text, -1) {
		to := text[m[2]:m[3]]
		if absolute.MatchString(to) {
			continue
		}
		file, anchor, _ := strings.Cut(to, "#")
		if file == "" {
			file = name
		} else {
			file = path.Join(path.Dir(name), file)
		}
		found = append(found, target{1 + strings.Count(text[:m[0]], "\n"), file, anchor})
	}
	return found
}

// prose returns the lines of a page without what is code.
func prose(page []string) []string {
	_, page = docs.Blocks(page)
	return strings.Split(codeSpan.ReplaceAllStringFunc(strings.Join(page, "\n"), func(code string) string {
		return strings.Repeat("\n", strings.Count(code, "\n"))
	}), "\n")
}

// mentions returns the pages of docs/ that are named without a link, from the root of the
// repository: in code, in what it tells its users, and on pages, where a link would do better.
func mentions(lines []string) (found []target) {
	for i, line := range lines {
		if !strings.Contains(line, "docs/") { // which spares most lines the search
			continue
		}
		for _, m := range mention.FindAllStringSubmatch(line, -1) {
			found = append(found, target{i + 1, m[2], strings.TrimPrefix(m[3], "#")})
		}
	}
	return found
}

// isCode reports whether a file is one of those that may name pages, and is no test of pages.
func isCode(name string) bool { return path.Ext(name) == ".go" && path.Dir(name) != "internal/docs" }

// linkFaults tells which links and mentions of all pages, and mentions in code, lead nowhere, and
// which pages of docs/ the front page does not name.
func linkFaults(t *testing.T, files fs.FS) (faults []string) {
	t.Helper()
	pages := read(t, files, isPage)
	named := map[string]bool{front: true}
	all := read(t, files, func(name string) bool { return isPage(name) || isCode(name) })
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var leads []target
		if isPage(name) {
			leads = targets(name, all[name])
		}
		if name == front {
			for _, to := range leads {
				named[to.path] = true
			}
		}
		if path.Dir(name) == "docs" {
			for _, to := range mentions(prose(all[name])) {
				faults = append(faults, fmt.Sprintf("%s:%d: %s is named without a link", name, to.at, to.path))
			}
		}
		for _, to := range append(leads, mentions(all[name])...) {
			if _, err := fs.Stat(files, to.path); err != nil {
				faults = append(faults, fmt.Sprintf("%s:%d: there is no %s", name, to.at, to.path))
			} else if to.anchor != "" && !anchors(pages[to.path])[to.anchor] {
				faults = append(faults, fmt.Sprintf("%s:%d: there is no heading #%s in %s", name, to.at, to.anchor, to.path))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if path.Dir(name) == "docs" && !named[name] {
			faults = append(faults, name+": "+front+" does not name it")
		}
	}
	return faults
}

// contentsFaults tells which headings are missing in lists of contents: a list before the first
// heading below the title that links to headings of its page.
func contentsFaults(t *testing.T, files fs.FS) (faults []string) {
	t.Helper()
	pages := read(t, files, isPage)
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		_, page := docs.Blocks(pages[name])
		first := slices.IndexFunc(page, func(line string) bool { return strings.HasPrefix(line, "## ") })
		if first < 0 {
			continue
		}
		list := slices.DeleteFunc(slices.Clone(page[:first]), func(line string) bool {
			return !strings.HasPrefix(strings.TrimSpace(line), "- ")
		})
		listed := map[string]bool{}
		for _, to := range targets(name, list) {
			if to.path == name {
				listed[to.anchor] = true
			}
		}
		for _, line := range page[first:] {
			for anchor := range anchors([]string{line}) {
				if len(listed) > 0 && strings.HasPrefix(line, "## ") && !listed[anchor] {
					faults = append(faults, name+": its contents have no #"+anchor)
				}
			}
		}
	}
	return faults
}

func TestContentsNameEveryHeading(t *testing.T) {
	t.Parallel()
	for _, fault := range contentsFaults(t, repository) {
		t.Error(fault)
	}
}

func TestHeadingsThatContentsDoNotNameAreFound(t *testing.T) {
	t.Parallel()
	faults := contentsFaults(t, fstest.MapFS{
		"docs/long.md":  {Data: []byte("# Long\n\n- [One](#one)\n\n## One\n\n### Part\n\n## Two\n")},
		"docs/short.md": {Data: []byte("# Short\n\nSee [it](#one).\n\n- [Long](long.md#one)\n\n## One\n\n## Two\n")},
	})
	if want := []string{"docs/long.md: its contents have no #two"}; !slices.Equal(faults, want) {
		t.Errorf("%q, want %q", faults, want)
	}
}

func TestLinksOfThePagesLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, fault := range linkFaults(t, repository) {
		t.Error(fault)
	}
}

func TestLinksThatLeadNowhereAreFound(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text string
		want string
	}{
		"a page":                         {"See [it](docs/page.md).", ""},
		"a file":                         {"See [it](doc.go).", ""},
		"a folder":                       {"See [it](docs).", ""},
		"a picture":                      {"![It](docs/it.png)", ""},
		"a heading":                      {"See [it](docs/page.md#a-page-of-two-parts).", ""},
		"a heading that is there twice":  {"See [it](docs/page.md#part-1).", ""},
		"a heading of the page":          {"# Here\n\nSee [it](#here).", ""},
		"a link over two lines":          {"See [it\nthere](docs/page.md).", ""},
		"another site":                   {"See [it](https://example.com/none).", ""},
		"code":                           {"Write `[it](none.md)`.", ""},
		"a block":                        {"```\n[it](none.md)\n```", ""},
		"a page that is named":           {"Docs are in docs/page.md#part.", ""},
		"no page that is named":          {"See docs/none.md.", "README.md:1: there is no docs/none.md"},
		"no heading that is named":       {"See docs/page.md#none", "README.md:1: there is no heading #none in docs/page.md"},
		"no page":                        {"See\n[it](docs/none.md).", "README.md:2: there is no docs/none.md"},
		"no page, over two lines":        {"See [it\nthere](docs/none.md).", "README.md:1: there is no docs/none.md"},
		"another case":                   {"See [it](docs/Page.md).", "README.md:1: there is no docs/Page.md"},
		"no picture":                     {"![It](docs/none.png)", "README.md:1: there is no docs/none.png"},
		"no heading":                     {"See [it](docs/page.md#part-2).", "README.md:1: there is no heading #part-2 in docs/page.md"},
		"no heading of the page":         {"# Here\n\nSee [it](#there).", "README.md:3: there is no heading #there in README.md"},
		"a heading in code is none":      {"See [it](docs/page.md#code).", "README.md:1: there is no heading #code in docs/page.md"},
		"the heading of what is no page": {"See [it](doc.go#part).", "README.md:1: there is no heading #part in doc.go"},
	} {
		faults := linkFaults(t, fstest.MapFS{
			"README.md":    {Data: []byte(row.text)},
			"docs/page.md": {Data: []byte("# A `page`, of two parts\n\n## Part\n\n```\n# Code\n```\n\n## Part\n")},
			front:          {Data: []byte("[A page](page.md)")},
			"docs/it.png":  {},
			"doc.go":       {},
		})
		var want []string
		if row.want != "" {
			want = []string{row.want}
		}
		if !slices.Equal(faults, want) {
			t.Errorf("%s: %q, want %q", name, faults, want)
		}
	}
}

// TestPagesThatCodeNamesAreThere: a command tells its users of pages; and one page links to another.
func TestPagesThatCodeNamesAreThere(t *testing.T) {
	t.Parallel()
	faults := linkFaults(t, fstest.MapFS{
		front:         {Data: []byte("[One](one.md)")},
		"docs/one.md": {Data: []byte("See docs/one.md, and `docs/one.md`.\n```\ndocs/one.md\n```\n")},
		"cmd/a.go":    {Data: []byte("package a\n\nconst help = \"see docs/one.md and docs/none.md\"\n")},
	})
	if want := []string{"cmd/a.go:3: there is no docs/none.md", "docs/one.md:1: docs/one.md is named without a link"}; !slices.Equal(faults, want) {
		t.Errorf("%q, want %q", faults, want)
	}
}

func TestPagesThatAreNamedNowhereAreFound(t *testing.T) {
	t.Parallel()
	faults := linkFaults(t, fstest.MapFS{
		front:           {Data: []byte("[One](one.md)")},
		"docs/one.md":   {Data: []byte("[Two](two.md)")},
		"docs/two.md":   {},
		"docs/a/own.md": {},
		"CHANGELOG.md":  {},
	})
	if want := []string{"docs/two.md: " + front + " does not name it"}; !slices.Equal(faults, want) {
		t.Errorf("%q, want %q", faults, want)
	}
}
