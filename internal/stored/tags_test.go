package stored_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/stored"
)

// tagRows are tags, and the bytes that they are written as.
var tagRows = []struct {
	name   string
	tags   []stored.Tag
	member string
}{
	{"no tags", nil, ``},
	{"one tag", []stored.Tag{{"user:7", "h1", "s1"}}, `, "g": ["user:7", "h1", "s1"]`},
	{"two tags", []stored.Tag{{"user:7", "h1", "s1"}, {"posts", "h2", "s2"}}, `, "g": ["user:7", "h1", "s1", "posts", "h2", "s2"]`},
	{"one tag twice", []stored.Tag{{"a", "h", "s"}, {"a", "h", "s"}}, `, "g": ["a", "h", "s", "a", "h", "s"]`},
	{"the empty name", []stored.Tag{{"", "h", "s"}, {"", "h", "s"}}, `, "g": ["", "h", "s", "", "h", "s"]`},
	{"bars", []stored.Tag{{"a|b", "h|", "|s"}}, `, "g": ["a\u007cb", "h\u007c", "\u007cs"]`},
	{"quotes and backslashes", []stored.Tag{{`"a\`, `"`, `\`}}, `, "g": ["\"a\\", "\"", "\\"]`},
	{"what looks like an escape", []stored.Tag{{`\u0000ff`, "h", "s"}}, `, "g": ["\\u0000ff", "h", "s"]`},
	{"what looks like the metadata's end", []stored.Tag{{`"]}|`, "h", "s"}}, `, "g": ["\"]}\u007c", "h", "s"]`},
	{"line ends", []stored.Tag{{"a\r\n", "h", "s"}}, `, "g": ["a\u000d\u000a", "h", "s"]`},
	{"letters beyond ASCII", []stored.Tag{{"é€", "h", "s"}}, `, "g": ["\u00e9\u20ac", "h", "s"]`},
	{"an emoji", []stored.Tag{{"\U0001f600", "h", "s"}}, `, "g": ["\ud83d\ude00", "h", "s"]`},
	{"U+FFFD itself", []stored.Tag{{"\ufffd", "h", "s"}}, `, "g": ["\ufffd", "h", "s"]`},
	{"a byte that is not UTF-8", []stored.Tag{{"\xff", "h", "s"}}, `, "g": ["\u0000ff", "h", "s"]`},
	{"a letter that is cut", []stored.Tag{{"a|\xe2\x82", "h", "s"}}, `, "g": ["\u0000617ce282", "h", "s"]`},
	{"half a surrogate pair", []stored.Tag{{"\xed\xa0\x80", "h", "s"}}, `, "g": ["\u0000eda080", "h", "s"]`},
	{"NUL alone", []stored.Tag{{"\x00", "h", "s"}}, `, "g": ["\u000000", "h", "s"]`},
	{"NUL and what would be hex", []stored.Tag{{"\x00ff", "h", "s"}}, `, "g": ["\u0000006666", "h", "s"]`},
	{"NUL within", []stored.Tag{{"a\x00ff", "h", "s"}}, `, "g": ["a\u0000ff", "h", "s"]`},
	{"4 KiB", []stored.Tag{{strings.Repeat("k", 4096), "h", "s"}}, `, "g": ["` + strings.Repeat("k", 4096) + `", "h", "s"]`},
	{"4 KiB that are not UTF-8", []stored.Tag{{strings.Repeat("\xfe", 4096), "h", "s"}}, `, "g": ["\u0000` + strings.Repeat("fe", 4096) + `", "h", "s"]`},
}

// malformedTags are members that Append does not write, and could not have meant.
var malformedTags = map[string]string{
	"a string":                            `"g": "a"`,
	"a number":                            `"g": 1`,
	"true":                                `"g": true`,
	"null":                                `"g": null`,
	"an object":                           `"g": {"a": ["h", "s"]}`,
	"arrays in the array":                 `"g": [["a", "h", "s"]]`,
	"a name that is a number":             `"g": [1, "h", "s"]`,
	"a version that is a number":          `"g": ["a", 1, "s"]`,
	"a version that is null":              `"g": ["a", "h", null]`,
	"a name alone":                        `"g": ["a"]`,
	"two of three":                        `"g": ["a", "h"]`,
	"four":                                `"g": ["a", "h", "s", "b"]`,
	"an empty hard version":               `"g": ["a", "", "s"]`,
	"an empty soft version":               `"g": ["a", "h", ""]`,
	"an empty version of the second tag":  `"g": ["a", "h", "s", "b", "", "s"]`,
	"no hex after U+0000":                 `"g": ["\u0000fg", "h", "s"]`,
	"half a byte in hex":                  `"g": ["\u0000fff", "h", "s"]`,
	"no hex in the second name":           `"g": ["a", "h", "s", "\u0000é", "h", "s"]`,
	"the member twice":                    `"g": ["a", "h", "s"], "g": ["a", "h", "s"]`,
	"the member twice, without tags":      `"g": [], "g": []`,
	"a comma at the end":                  `"g": ["a", "h", "s",]`,
	"a comma alone":                       `"g": [,]`,
	"a comma at the beginning":            `"g": [,"a", "h", "s"]`,
	"no commas":                           `"g": ["a" "h" "s"]`,
	"no end":                              `"g": ["a", "h", "s"`,
	"no end, and another member":          `"g": ["a", "h", "s", "d": 1.5`,
	"nothing":                             `"g":`,
	"an end alone":                        `"g": ]`,
	"strings without a beginning":         `"g": "a", "h", "s"]`,
	"a beginning alone":                   `"g": [`,
	"another end":                         `"g": ["a", "h", "s"}`,
	"a string that is not well formed":    `"g": ["a", "h", "s]`,
	"an escape that is none":              `"g": ["\x", "h", "s"]`,
	"bytes that are not UTF-8 in a name":  "\"g\": [\"\xff\", \"h\", \"s\"]",
	"NUL as a byte":                       "\"g\": [\"\x0000\", \"h\", \"s\"]",
	"tags, and a schema of another kind":  `"g": ["a", "h", "s"], "s": 2`,
	"tags, and what comes after them not": `"g": ["a", "h", "s"], "d": "x"`,
}

func TestTags(t *testing.T) {
	t.Parallel()
	for _, row := range tagRows {
		meta := stored.Meta{Created: 1795335672908182383, Tags: row.tags}
		entry := stored.Append([]byte("before"), meta)
		if want := "before" + begin + row.member + "}|"; string(entry) != want {
			t.Errorf("%s: written as %.200s, want %.200s", row.name, entry, want)
		}
		for _, c := range entry {
			if c < ' ' || c > '~' {
				t.Errorf("%s: written with byte %#x", row.name, c)
			}
		}
		for _, others := range []stored.Meta{
			{},
			{Version: "t", Schema: "s", Took: time.Second},
			{Version: "t", Schema: "s", Took: time.Second, ExpireIn: time.Minute, StaleFor: -1, NotFound: true},
		} {
			others.Created, others.Tags = meta.Created, row.tags
			entry := append(stored.Append(nil, others), "|payload"...)
			before := bytes.Clone(entry)
			m, payload, err := stored.Parse(entry)
			if err != nil || !same(m, others) || string(payload) != "|payload" {
				t.Errorf("%s: %.200q was read as %+v, %q, %v", row.name, entry, m, payload, err)
			}
			if !bytes.Equal(entry, before) {
				t.Errorf("%s: Parse wrote to its input: %.200q", row.name, entry)
			}
		}
	}
}

// Other programs read the array as what it is: strings.
func TestTagsAreJSON(t *testing.T) {
	t.Parallel()
	for _, row := range tagRows {
		entry := stored.Append(nil, stored.Meta{Created: 1795335672908182383, Tags: row.tags})
		var head struct{ G []string }
		if err := json.Unmarshal(entry[:len(entry)-1], &head); err != nil || len(head.G) != 3*len(row.tags) {
			t.Errorf("%s: %d strings, %v", row.name, len(head.G), err)
			continue
		}
		for i, tag := range row.tags {
			if head.G[3*i+1] != tag.Hard || head.G[3*i+2] != tag.Soft {
				t.Errorf("%s: %q, want the versions of %q", row.name, head.G, tag)
			}
		}
	}
}

func TestTagsInOtherForms(t *testing.T) {
	t.Parallel()
	one := []stored.Tag{{"a", "h", "s"}}
	for _, row := range []struct {
		name, entry string
		want        []stored.Tag
	}{
		{"an empty array", begin + `, "g": []}|1`, nil},
		{"an empty array with space", begin + `, "g": [ ` + "\n" + `]}|1`, nil},
		{"no space", `{"ct":1795335672.9081824,"v":2,"g":["a","h","s"]}|1`, one},
		{"much space", begin + ",\n\"g\"\t:\r[ \"a\" , \"h\"\n,\t\"s\" ] }|1", one},
		{"space within only", begin + `, "g": [ "a" , "h","s" ]}|1`, one},
		{"before the other members", `{"g": ["a", "h", "s"], "ct": 1795335672.9081824, "v": 2}|1`, one},
		{"a key with escapes", begin + `, "\u0067": ["a", "h", "s"]}|1`, one},
		{"escapes that need not be", begin + `, "g": ["\u0061", "\u0068", "\u0073"]}|1`, one},
		{"UTF-8 without escapes", begin + `, "g": ["é", "h", "s"]}|1`, []stored.Tag{{"é", "h", "s"}}},
		{"hex that need not be", begin + `, "g": ["\u000061", "h", "s"]}|1`, one},
		{"hex with capitals", begin + `, "g": ["\u0000FE", "h", "s"]}|1`, []stored.Tag{{"\xfe", "h", "s"}}},
		{"hex of nothing", begin + `, "g": ["\u0000", "h", "s"]}|1`, []stored.Tag{{"", "h", "s"}}},
		{"hex with escapes", begin + `, "g": ["\u0000\u0066\u0065", "h", "s"]}|1`, []stored.Tag{{"\xfe", "h", "s"}}},
		{"half a surrogate pair", begin + `, "g": ["\ud800", "h", "s"]}|1`, []stored.Tag{{"\ufffd", "h", "s"}}},
	} {
		m, payload, err := stored.Parse([]byte(row.entry))
		want := stored.Meta{Created: 1795335672908182383, Tags: row.want}
		if err != nil || !same(m, want) || string(payload) != "1" {
			t.Errorf("%s: %+v, %q, %v; want %+v", row.name, m, payload, err, want)
		}
	}
}

func TestTagsMalformed(t *testing.T) {
	t.Parallel()
	for name, member := range malformedTags {
		for where, entry := range map[string]string{
			"at the end": begin + ", " + member + "}|1",
			"first":      `{` + member + `, "ct": 1795335672.9081824, "v": 2}|1`,
		} {
			m, payload, err := stored.Parse([]byte(entry))
			if !errors.Is(err, stored.ErrMalformed) || !same(m, stored.Meta{}) || payload != nil {
				t.Errorf("%s, %s: %+v, %q, %v", name, where, m, payload, err)
			}
		}
	}
	entry := stored.Append(nil, stored.Meta{Created: 1795335672908182383, Tags: []stored.Tag{{Name: "a", Hard: "h"}}})
	if m, _, err := stored.Parse(entry); !errors.Is(err, stored.ErrMalformed) {
		t.Errorf("a tag that was written without a version: %+v, %v", m, err)
	}
	for _, tags := range []string{`{"a": 1}`, `["a", {"b": 1}]`, `["a", 1]`, `["a", ""]`, `["\u0000g", "h", "s"]`, `1`} {
		if _, _, err := stored.Parse([]byte(`{"ct": 1795335672.9081824, "v": 3, "g": ` + tags + `}|1`)); !errors.Is(err, stored.ErrVersion) {
			t.Errorf("tags of another stored version, %s: %v", tags, err)
		}
	}
}

// Tags that were read outlive the entry.
func TestTagsAreCopies(t *testing.T) {
	t.Parallel()
	data := []byte(begin + `, "g": ["a", "h", "s", "\u0000ff", "h\u007c", "s"]}|1`)
	m, _, err := stored.Parse(data)
	clear(data)
	if want := []stored.Tag{{"a", "h", "s"}, {"\xff", "h|", "s"}}; err != nil || !same(stored.Meta{Tags: m.Tags}, stored.Meta{Tags: want}) {
		t.Errorf("%q, %v; want %q", m.Tags, err, want)
	}
}

// However many tags an entry has, reading them takes memory twice, and writing them never.
func TestTagAllocations(t *testing.T) {
	for _, n := range []int{1, 2, 50} {
		meta := stored.Meta{Created: 1795335672908182383}
		for i := range n {
			meta.Tags = append(meta.Tags, stored.Tag{Name: "tag\xff" + strconv.Itoa(i), Hard: "5f2a91c07be45d18", Soft: "6f2a91c07be45d18"})
		}
		dst := make([]byte, 0, 1<<14)
		if got := testing.AllocsPerRun(100, func() { dst = stored.Append(dst[:0], meta) }); got != 0 {
			t.Errorf("%d tags: Append: %v allocations", n, got)
		}
		for i := range meta.Tags {
			meta.Tags[i].Name = strconv.Itoa(i)
		}
		dst = stored.Append(dst[:0], meta)
		var err error
		if got := testing.AllocsPerRun(100, func() { _, _, err = stored.Parse(dst) }); got != 2 || err != nil {
			t.Errorf("%d tags: Parse: %v allocations, want 2; %v", n, got, err)
		}
	}
	empty := []byte(begin + `, "g": []}|1`)
	if got := testing.AllocsPerRun(100, func() { _, _, _ = stored.Parse(empty) }); got != 0 {
		t.Errorf("an empty array: %v allocations", got)
	}
}

// An entry of a megabyte has as much memory taken for it as its tags are worth, and none
// if they are malformed.
func TestTagMemory(t *testing.T) {
	for _, row := range []struct {
		name, array string
		limit       uint64
	}{
		{"small tags", `"","h","s"` + strings.Repeat(`,"","h","s"`, 1e5), 6 << 20},
		{"commas", strings.Repeat(`,`, 1e6), 0},
		{"empty strings", `""` + strings.Repeat(`,""`, 3e5), 0},
		{"one too many", `"","h","s"` + strings.Repeat(`,"","h","s"`, 1e5) + `,"a"`, 0},
		{"space", strings.Repeat(" ", 1e6), 0},
		{"brackets", strings.Repeat("[", 1e6), 0},
	} {
		entry := []byte(begin + `, "g": [` + row.array + `]}|1`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := stored.Parse(entry)
		runtime.ReadMemStats(&after)
		// Whatever the runtime itself takes meanwhile is far below 64 KiB.
		if took := after.TotalAlloc - before.TotalAlloc; took > row.limit+1<<16 {
			t.Errorf("%s: %d bytes for an entry of %d, %v", row.name, took, len(entry), err)
		}
	}
}
