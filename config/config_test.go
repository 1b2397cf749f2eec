package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/config"
)

// write makes a file called name that holds content, and returns its path.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dump puts a map in the form of the golden file.
func dump(m map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%q = %q\n", key, m[key])
	}
	return b.String()
}

func TestLoadGolden(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/settings.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"settings.toml", "settings.yaml", "settings.json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := config.Load(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			if dump(got) != string(golden) {
				t.Errorf("got:\n%swant:\n%s", dump(got), golden)
			}
		})
	}
}

func TestLoadValues(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, file, content string
		want                map[string]string
	}{
		{"extension in capitals", "a.JSON", `{"a": 1}`, map[string]string{"a": "1"}},
		{"yml is YAML", "a.yml", `a: 1`, map[string]string{"a": "1"}},
		{"TOML with a byte order mark", "a.toml", "\ufeffa = 1\r\nb = 'x'\r\n", map[string]string{"a": "1", "b": "x"}},
		{"YAML with a byte order mark", "a.yaml", "\ufeffa: 1\r\nb: x\r\n", map[string]string{"a": "1", "b": "x"}},
		{"JSON with a byte order mark", "a.json", "\ufeff{\"a\": 1,\r\n\"b\": \"x\"}\r\n", map[string]string{"a": "1", "b": "x"}},
		{"nothing but a byte order mark", "a.toml", "\ufeff", map[string]string{}},
		{"byte order mark in a value", "a.json", `{"a": "\ufeffx"}`, map[string]string{"a": "\ufeffx"}},
		{"empty TOML", "a.toml", "", map[string]string{}},
		{"empty YAML", "a.yaml", "# nothing\n", map[string]string{}},
		{"empty JSON", "a.json", "{}", map[string]string{}},
		{"JSON integer beyond float64", "a.json", `{"a": 12345678901234567890123}`,
			map[string]string{"a": "12345678901234567890123"}},
		{"negative numbers", "a.json", `{"a": -1, "b": -2.50}`, map[string]string{"a": "-1", "b": "-2.5"}},
		{"largest unsigned YAML integer", "a.yaml", "a: 18446744073709551615", map[string]string{"a": "18446744073709551615"}},
		{"numbers in another base", "a.toml", "a = 0xff\nb = 0b11", map[string]string{"a": "255", "b": "3"}},
		{"infinity", "a.yaml", "a: .inf", map[string]string{"a": "+Inf"}},
		{"YAML yes is a string", "a.yaml", "a: yes\nb: off", map[string]string{"a": "yes", "b": "off"}},
		{"strings that look like something", "a.toml", "a = '1e6'\nb = '007'\nc = ' true '",
			map[string]string{"a": "1e6", "b": "007", "c": " true "}},
		{"TOML times", "a.toml", "a = 1979-05-27T07:32:00\nb = 07:32:00\nc = 1979-05-27T07:32:00+01:00",
			map[string]string{"a": "1979-05-27T07:32:00", "b": "07:32:00", "c": "1979-05-27T07:32:00+01:00"}},
		{"names that are no strings", "a.yaml", "a: {1: x, true: y}", map[string]string{"a.1": "x", "a.true": "y"}},
		{"YAML merge", "a.yaml", "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}",
			map[string]string{"x.a": "1", "x.b": "2", "y.a": "1", "y.b": "3"}},
		{"table in two places", "a.json", `{"a.b": {"c": 1}, "a": {"b": {"d": 2}, "b.e": 3}}`,
			map[string]string{"a.b.c": "1", "a.b.d": "2", "a.b.e": "3"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := config.Load(write(t, row.file, row.content))
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, row.want) || got == nil {
				t.Errorf("got:\n%swant:\n%s", dump(got), dump(row.want))
			}
		})
	}
}

// Most of the files hold the word hunter2 as a value.
var loadErrors = []struct{ name, file, content, want string }{
	{"unknown extension", "a.ini", "a=hunter2", `unknown extension ".ini"; known: .json, .toml, .yaml, .yml`},
	{"no extension", "settings", "a=hunter2", `unknown extension ""; known: .json, .toml, .yaml, .yml`},

	{"TOML not in UTF-8", "a.toml", "a = 'hunter2\xff'", "the file is not in UTF-8"},
	{"YAML in UTF-16", "a.yaml", "\xff\xfea\x00:\x00 \x001\x00", "the file is not in UTF-8"},
	{"JSON not in UTF-8", "a.json", "{\"a\": \"hunter2\xff\"}", "the file is not in UTF-8"},
	{"line after a byte order mark", "a.json", "\ufeff{\"a\": 1,\n\"b\": hunter2}", "syntax error on line 2"},

	{"TOML syntax", "a.toml", "a = 1\nb = hunter2\n", "syntax error on line 2"},
	{"TOML string not ended", "a.toml", "a = \"hunter2\nb = 1", "syntax error on line 1"},
	{"TOML integer too large", "a.toml", "p='hunter2'\na = 12345678901234567890", "syntax error on line 2"},
	{"TOML key twice", "a.toml", "[c.u]\na = 'hunter2'\nb = '''\nx\n'''\na = 'hunter2'\n[d]",
		`key "a" is defined twice, the second time on line 6`},
	{"TOML table twice", "a.toml", "[c.u]\na = 'hunter2'\n[c.u]\n", `key "u" is defined twice, the second time on line 3`},
	{"TOML value and table", "a.toml", "p='hunter2'\na = 1\na.b = 2", `key "a" is both a value and a table on line 3`},
	{"TOML value and later table", "a.toml", "a = 'hunter2'\n[a]\nb = 1", `key "a" is both a value and a table on line 2`},
	{"TOML value and list of tables", "a.toml", "a = 'hunter2'\n[[a]]\nb = 1", `key "a" is both a value and a table on line 2`},
	{"TOML table in a value", "a.toml", "a = 'hunter2'\n[a.b]\nc = 1", `key "a" is both a value and a table on line 2`},
	{"TOML inline key twice", "a.toml", "\na = {b = 'hunter2', b = 1}", `key "b" is defined twice, the second time on line 2`},
	{"TOML dotted table twice", "a.toml", "c.u = 'hunter2'\n[c]", `key "c" is defined twice, the second time on line 2`},
	{"TOML key of two lines twice", "a.toml", "\"b\\nc\" = 'hunter2'\n\"b\\nc\" = 1", `key "b\nc" is defined twice, the second time on line 2`},
	{"TOML dotted and nested", "a.toml", "'c.u.p' = 'hunter2'\n[c.u]\np = 'hunter2'", `key "c.u.p" is defined twice`},
	{"TOML list of tables", "a.toml", "[[c.u]]\np = 'hunter2'", `key "c.u" is a list in which value 1 is no plain value`},

	{"YAML syntax", "a.yaml", "a: 1\nb: [hunter2\n", "syntax error near line 1"},
	{"YAML unknown anchor", "a.yaml", "a: *hunter2", "not valid YAML"},
	{"YAML wrong tag", "a.yaml", "a: !!int hunter2", "not valid YAML"},
	{"YAML name that is a list", "a.yaml", "? [hunter2]\n: 1", "not valid YAML"},
	{"YAML key twice", "a.yaml", "c:\n  a: hunter2\n  \"a\": hunter2", `key "a" is defined twice, on lines 2 and 3`},
	{"YAML dotted and nested", "a.yaml", "c.u: hunter2\nc: {u: hunter2}", `key "c.u" is defined twice`},
	{"YAML number and string as name", "a.yaml", "c: {1: hunter2, '1.a': 2}", `key "c.1" is both a value and a table`},
	{"YAML two documents", "a.yaml", "a: hunter2\n---\nb: 1", "has more than one YAML document"},
	{"YAML second document broken", "a.yaml", "a: hunter2\n---\nb: [", "syntax error near line 3"},
	{"YAML scalar", "a.yaml", "hunter2", "the file is not a table of keys and values"},
	{"YAML inexact number", "a.yaml", "a: hunter2\nc: {u: 12345678901234567890123}",
		`key "c.u" is a number that cannot be kept exactly; write it as a string`},

	{"JSON syntax", "a.json", "{\"a\": 1,\n\"b\": hunter2}", "syntax error on line 2"},
	{"JSON cut off", "a.json", "{\"a\": \"hunter2\",\n\"b\":", "syntax error on line 2"},
	{"JSON empty file", "a.json", "", "syntax error on line 1"},
	{"JSON trailing data", "a.json", "{}\n{\"a\": \"hunter2\"}", "syntax error on line 2"},
	{"JSON list", "a.json", `["hunter2"]`, "the file is not a table of keys and values"},
	{"JSON key twice", "a.json", `{"c": {"a": "hunter2", "a": "hunter2"}}`, `key "c.a" is defined twice`},
	{"JSON dotted and nested", "a.json", `{"c.a": "hunter2", "c": {"a": "hunter2"}}`, `key "c.a" is defined twice`},
	{"JSON value and table", "a.json", `{"c": "hunter2", "c.a": 1}`, `key "c" is both a value and a table`},
	{"JSON value and empty table", "a.json", `{"c.a": "hunter2", "c": {"a": {}}}`, `key "c.a" is both a value and a table`},
	{"JSON list of lists", "a.json", `{"c": ["hunter2", ["hunter2"]]}`, `key "c" is a list in which value 2 is no plain value`},
	{"JSON comma in a list", "a.json", `{"c": ["hunter2,3"]}`,
		`key "c" is a list in which value 1 has a comma; write the list as one string`},
	{"JSON number out of range", "a.json", `{"p": "hunter2", "c": 1e999}`,
		`key "c" is a number that cannot be kept exactly; write it as a string`},
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	for _, row := range loadErrors {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, row.file, row.content)
			got, err := config.Load(path)
			if err == nil {
				t.Fatalf("no error, got:\n%s", dump(got))
			}
			if want := fmt.Sprintf("dogpile: config %q: %s", path, row.want); err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error shows a value: %q", err)
			}
			if got != nil {
				t.Errorf("a map as well as an error: %v", got)
			}
		})
	}
}

func TestLoadUnreadable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "absent.toml")
	_, err := config.Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v, want fs.ErrNotExist", err)
	}
	if want := fmt.Sprintf("dogpile: config %q: ", path); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("absent file: %q does not begin with %q", err, want)
	}
	dir := filepath.Join(t.TempDir(), "dir.json")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(dir); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("dogpile: config %q: ", dir)) {
		t.Errorf("directory: %v", err)
	}
}

func TestFromEnv(t *testing.T) {
	for name, value := range map[string]string{
		"DPTEST_CACHE__USERS__BACKEND":            "redis://u:p@h/0?a=b=c,d",
		"DPTEST_CACHE__USERS__STALE_FOR":          " 30m ",
		"DPTEST_CACHE__USERS__ARGUMENTS__HASH":    "",
		"DPTEST_CACHE__USERS__ARGUMENTS__HASH__X": "below a value",
		"DPTEST_single":                           "1e6",
		"DPTEST_":                                 "no name is left",
		"dptest_CACHE":                            "other prefix",
		"XDPTEST_CACHE":                           "other prefix",
	} {
		t.Setenv(name, value)
	}
	want := map[string]string{
		"cache.users.backend":          "redis://u:p@h/0?a=b=c,d",
		"cache.users.stale_for":        " 30m ",
		"cache.users.arguments.hash":   "",
		"cache.users.arguments.hash.x": "below a value",
		"single":                       "1e6",
	}
	for range 20 { // maps are walked in random order
		if got := config.FromEnv("DPTEST_"); !maps.Equal(got, want) {
			t.Fatalf("got:\n%swant:\n%s", dump(got), dump(want))
		}
	}
	if got := config.FromEnv("DPTEST_ABSENT_"); got == nil || len(got) != 0 {
		t.Errorf("no variable: got %v, want an empty map", got)
	}
}

// FuzzLoad checks that no file makes Load panic, that it gives either a map or
// an error, and that no key of the map lies below another.
func FuzzLoad(f *testing.F) {
	f.Add(0, []byte("a.b = 1\n[c]\nd = 'x'\n"))
	f.Add(1, []byte("a.b: 1\nc: {d: x}\n"))
	f.Add(2, []byte(`{"a.b": 1, "c": {"d": "x"}}`))
	dir := f.TempDir() // one for all inputs: to make it takes longer than Load
	f.Fuzz(func(t *testing.T, i int, content []byte) {
		path := filepath.Join(dir, "a"+extensions[uint(i)%uint(len(extensions))])
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := config.Load(path)
		if (got == nil) == (err == nil) {
			t.Fatalf("map %v and error %v", got, err)
		}
		for key := range got {
			for i, c := range key {
				if _, both := got[key[:i]]; c == '.' && both {
					t.Fatalf("%q and %q are both there", key, key[:i])
				}
			}
		}
	})
}

var extensions = []string{".toml", ".yaml", ".json"}
