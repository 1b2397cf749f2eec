package stored_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/stored"
)

const begin = `{"ct": 1795335672.9081824, "v": 2`

// What an entry says of itself beyond its times: its schema, how long it may be served
// when it is stale, and that it stands for "not found".
func TestMarks(t *testing.T) {
	t.Parallel()
	at := func(m stored.Meta) stored.Meta {
		m.Created = 1795335672908182383
		return m
	}
	for _, row := range []struct {
		name  string
		meta  stored.Meta
		entry string
	}{
		{"a schema", stored.Meta{Schema: "user/2"}, begin + `, "s": "user/2"}|1`},
		{"a schema with a bar", stored.Meta{Schema: `a|"é`}, begin + `, "s": "a\u007c\"\u00e9"}|1`},
		{"a schema, a version and a duration", stored.Meta{Schema: "2", Version: "t", Took: 1500 * time.Millisecond}, begin + `, "t": "t", "s": "2", "d": 1.5}|1`},
		{"stale for a minute", stored.Meta{StaleFor: time.Minute}, begin + `, "f": 60.0}|1`},
		{"stale without bound", stored.Meta{StaleFor: -1}, begin + `, "f": -1}|1`},
		{"stale for next to nothing", stored.Meta{StaleFor: 1}, begin + `, "f": 0.000000001}|1`},
		{"to stand in for a minute", stored.Meta{StaleIfError: time.Minute}, begin + `, "i": 60.0}|1`},
		{"to stand in without bound", stored.Meta{StaleIfError: -1}, begin + `, "i": -1}|1`},
		{"not found", stored.Meta{NotFound: true, ExpireIn: 5 * time.Second}, begin + `, "e": 5.0, "n": 1}|null`},
		{
			"everything", stored.Meta{Version: "t", Schema: "s", ExpireIn: time.Second, StaleFor: time.Second, StaleIfError: time.Hour, NotFound: true, Took: time.Second, Tags: []stored.Tag{{Name: "a", Hard: "b", Soft: "c"}}},
			begin + `, "t": "t", "s": "s", "e": 1.0, "f": 1.0, "i": 3600.0, "n": 1, "g": ["a", "b", "c"], "d": 1.0}|null`,
		},
	} {
		payload := row.entry[len(row.entry)-1:]
		if row.meta.NotFound {
			payload = "null"
		}
		if got := string(append(stored.Append(nil, at(row.meta)), payload...)); got != row.entry {
			t.Errorf("%s: written as %s, want %s", row.name, got, row.entry)
		}
		for _, schema := range []string{"", row.meta.Schema, "another"} {
			m, got, err := stored.ParseExpecting([]byte(row.entry), row.meta.Version, schema)
			if !same(m, at(row.meta)) || string(got) != payload || err != nil {
				t.Errorf("%s: read as %+v, %q, %v; want %+v", row.name, m, got, err, at(row.meta))
			}
		}
	}
}

func TestMarksOfOtherKinds(t *testing.T) {
	t.Parallel()
	for name, mark := range map[string]string{
		"a schema that is a number":        `"s": 2`,
		"an empty schema":                  `"s": ""`,
		"a schema that is given twice":     `"s": "a", "s": "a"`,
		"stale for nothing":                `"f": 0`,
		"stale for less than nothing":      `"f": -2`,
		"to stand in for nothing":          `"i": 0`,
		"to stand in for a string":         `"i": "1h"`,
		"stale for a string":               `"f": "1h"`,
		"not found that is no 1":           `"n": 0`,
		"not found that is true":           `"n": true`,
		"not found that is given twice":    `"n": 1, "n": 1`,
		"not found that is a word":         `"n": "1"`,
		"a schema that is not well formed": `"s": "a`,
	} {
		if m, _, err := stored.Parse([]byte(begin + ", " + mark + "}|1")); !errors.Is(err, stored.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestParseOfASchemaAllocatesNothing(t *testing.T) {
	entry := []byte(begin + `, "t": "3f2a91c07be45d18", "s": "user/2", "d": 1.5}|1`)
	var err error
	if n := testing.AllocsPerRun(100, func() { _, _, err = stored.ParseExpecting(entry, "3f2a91c07be45d18", "user/2") }); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}
