package stored_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/stored"
)

// golden is a row of a table in testdata.
type golden struct {
	meta  stored.Meta
	entry string
}

func same(a, b stored.Meta) bool { return reflect.DeepEqual(a, b) }

func (g golden) payload() string { return g.entry[strings.IndexByte(g.entry, '|')+1:] }

func lines(t testing.TB, file string) [][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
	}
	if len(rows) < 8 {
		t.Fatalf("%s has %d rows", file, len(rows))
	}
	return rows
}

func goldens(t testing.TB, file string) []golden {
	t.Helper()
	var out []golden
	for _, row := range lines(t, file) {
		var g golden
		var err1, err2, err3, err4 error
		g.meta.Created, err1 = strconv.ParseInt(row[0], 10, 64)
		err2 = json.Unmarshal([]byte(row[1]), &g.meta.Version)
		var expireIn, took int64
		expireIn, err3 = strconv.ParseInt(row[2], 10, 64)
		took, err4 = strconv.ParseInt(row[3], 10, 64)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatalf("%s: %q: %v", file, row, err)
		}
		g.meta.ExpireIn, g.meta.Took = time.Duration(expireIn), time.Duration(took)
		g.entry = row[4]
		out = append(out, g)
	}
	return out
}

func TestParseGolden(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"captures.tsv", "written.tsv", "accepted.tsv"} {
		for _, g := range goldens(t, file) {
			for _, expected := range []string{"", g.meta.Version, "another"} {
				m, payload, err := stored.ParseExpecting([]byte(g.entry), expected, expected)
				if err != nil || !same(m, g.meta) || string(payload) != g.payload() {
					t.Errorf("%s: ParseExpecting(%s, %q) = %+v, %q, %v; want %+v", file, g.entry, expected, m, payload, err, g.meta)
				}
			}
			m, payload, err := stored.Parse([]byte(g.entry))
			if err != nil || !same(m, g.meta) || string(payload) != g.payload() || payload == nil {
				t.Errorf("%s: Parse(%s) = %+v, %q, %v; want %+v", file, g.entry, m, payload, err, g.meta)
			}
		}
	}
}

func TestAppendGolden(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"captures.tsv", "written.tsv"} {
		for _, g := range goldens(t, file) {
			got := string(append(stored.Append([]byte("before"), g.meta), g.payload()...))
			if got != "before"+g.entry {
				t.Errorf("%s: Append(%+v) = %s, want %s", file, g.meta, got, g.entry)
			}
		}
	}
}

func TestParseRejects(t *testing.T) {
	t.Parallel()
	causes := map[string]error{"malformed": stored.ErrMalformed, "version": stored.ErrVersion}
	rows := lines(t, "rejected.tsv")
	deep := `{"ct": 1.5, "v": 2, "x": ` + strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6) + "}|1"
	rows = append(rows, []string{"malformed", strconv.Quote(deep)})
	for _, row := range rows {
		entry, err := strconv.Unquote(row[1])
		if err != nil {
			t.Fatalf("%s: %v", row[1], err)
		}
		m, payload, err := stored.Parse([]byte(entry))
		if !errors.Is(err, causes[row[0]]) || !same(m, stored.Meta{}) || payload != nil {
			t.Errorf("Parse(%.99q) = %+v, %q, %v; want %s", entry, m, payload, err, row[0])
		}
	}
}

// Append rounds a time to a float64 of seconds once; after that it stays.
func TestCreatedRounding(t *testing.T) {
	t.Parallel()
	for _, created := range []int64{
		1, 2, 999_999_999, 1_000_000_001, 1<<53 + 1, 8_388_608_123_456_789, 16_777_216_999_999_999,
		1_795_335_672_908_182_456, 1_795_335_672_999_999_999, 4_102_444_800_123_456_789, 9_223_372_035_999_999_000,
	} {
		entry := append(stored.Append(nil, stored.Meta{Created: created}), '1')
		m, _, err := stored.Parse(entry)
		if err != nil {
			t.Errorf("%d: %v", created, err)
			continue
		}
		if off := math.Abs(float64(m.Created - created)); off > 1000 || off > float64(created)/(1<<53)+0.5 {
			t.Errorf("%d came back as %d", created, m.Created)
		}
		if again := append(stored.Append(nil, m), '1'); !bytes.Equal(again, entry) {
			t.Errorf("%d: written as %s, then as %s", created, entry, again)
		}
	}
}

func TestDurationsAreRounded(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{1, time.Millisecond, 1500 * time.Millisecond, time.Hour, 365 * 24 * time.Hour, math.MaxInt64} {
		m, _, err := stored.Parse(append(stored.Append(nil, stored.Meta{Created: 1, ExpireIn: d, Took: d}), '1'))
		if err != nil || m.ExpireIn != d || m.Took != d {
			t.Errorf("%d came back as %d and %d, %v", d, m.ExpireIn, m.Took, err)
		}
	}
	m, _, err := stored.Parse(append(stored.Append(nil, stored.Meta{Created: 1, ExpireIn: -time.Hour, Took: -1}), '1'))
	if err != nil || m.ExpireIn != -1 || m.Took != 0 {
		t.Errorf("negative durations came back as %d and %d, %v; want -1 and 0", m.ExpireIn, m.Took, err)
	}
}

// No entry that was cut short, or of which one bit has flipped, is taken for
// one with a payload of its own making or metadata that cannot be.
func TestParseDamaged(t *testing.T) {
	t.Parallel()
	for _, g := range append(goldens(t, "captures.tsv"), goldens(t, "written.tsv")...) {
		head := len(g.entry) - len(g.payload())
		for n := range head {
			if m, payload, err := stored.Parse([]byte(g.entry[:n])); err == nil {
				t.Errorf("cut to %q: %+v, %q", g.entry[:n], m, payload)
			}
		}
		for bit := range head * 8 {
			data := []byte(g.entry)
			data[bit/8] ^= 1 << (bit % 8)
			m, payload, err := stored.Parse(data)
			if err != nil {
				continue
			}
			if spaced, _, err := stored.Parse(append([]byte(" "), data...)); !same(spaced, m) || err != nil {
				t.Fatalf("%+v, and with a space before it %+v, %v", m, spaced, err)
			}
			if m.Created <= 0 || m.ExpireIn < -1 || m.Took < 0 || !strings.HasSuffix(g.entry, string(payload)) {
				t.Errorf("flipped to %q: %+v, %q", data, m, payload)
			}
			inNumber := data[bit/8] >= '0' && data[bit/8] <= '9' || strings.IndexByte(".eE-+", data[bit/8]) >= 0
			if m.Created != g.meta.Created && !inNumber {
				t.Errorf("flipped to %q: created %d", data, m.Created)
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	dst := make([]byte, 0, 256)
	meta := stored.Meta{Created: 1795335672908182383, Version: "3f2a91c07be45d18", ExpireIn: time.Minute, Took: time.Second}
	if n := testing.AllocsPerRun(100, func() { dst = stored.Append(dst[:0], meta) }); n != 0 {
		t.Errorf("Append: %v allocations", n)
	}
	for _, row := range []struct {
		name, entry, expected string
		want                  float64
	}{
		{"no version", `{"ct": 1795335672.9081824, "v": 2, "e": 60.5, "x": ["a", {"b": null}]}|1`, "", 0},
		{"the version that was expected", string(dst) + "1", meta.Version, 0},
		{"another version", string(dst) + "1", "5f2a91c07be45d18", 1},
		{"no expectation", string(dst) + "1", "", 1},
	} {
		entry := []byte(row.entry)
		var err error
		if n := testing.AllocsPerRun(100, func() { _, _, err = stored.ParseExpecting(entry, row.expected, "") }); n != row.want || err != nil {
			t.Errorf("%s: %v allocations, want %v; %v", row.name, n, row.want, err)
		}
	}
}

// What Parse returns keeps nothing of the entry but the payload.
func TestVersionIsACopy(t *testing.T) {
	t.Parallel()
	data := []byte(`{"ct": 1.5, "v": 2, "t": "token"}|1`)
	m, _, err := stored.ParseExpecting(data, "other", "another")
	clear(data)
	if m.Version != "token" || err != nil {
		t.Errorf("%q, %v", m.Version, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"captures.tsv", "written.tsv", "accepted.tsv"} {
		for _, g := range goldens(f, file) {
			f.Add([]byte(g.entry))
		}
	}
	for _, row := range tagRows {
		f.Add([]byte(begin + row.member + "}|1"))
	}
	for _, member := range malformedTags {
		f.Add([]byte(begin + ", " + member + "}|1"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		m, payload, err := stored.Parse(data)
		if !bytes.Equal(data, before) {
			t.Fatal("Parse wrote to its input")
		}
		if err != nil {
			if !same(m, stored.Meta{}) || payload != nil {
				t.Fatalf("%+v, %q beside %v", m, payload, err)
			}
			return
		}
		if again, _, err := stored.ParseExpecting(data, m.Version, m.Schema); !same(again, m) || err != nil {
			t.Fatalf("%+v, and with its version expected %+v, %v", m, again, err)
		}
		if spaced, _, err := stored.Parse(append([]byte(" "), data...)); !same(spaced, m) || err != nil {
			t.Fatalf("%+v, and with a space before it %+v, %v", m, spaced, err)
		}
		if m.Created <= 0 || m.ExpireIn < -1 || m.Took < 0 || !bytes.HasSuffix(data, payload) {
			t.Fatalf("%+v, %q", m, payload)
		}
		if !json.Valid(header(data)) {
			t.Fatalf("accepted a header that is not JSON: %q", data)
		}
		entry := append(stored.Append(nil, m), payload...)
		m2, payload2, err := stored.Parse(entry)
		if err != nil || !same(m2, m) || !bytes.Equal(payload2, payload) {
			t.Fatalf("%+v was written as %q and read as %+v, %q, %v", m, entry, m2, payload2, err)
		}
	})
}

// header returns the metadata with Python's numbers that JSON does not have
// replaced by null.
func header(data []byte) []byte {
	head, _, _ := bytes.Cut(data, []byte("|"))
	for _, word := range []string{"-Infinity", "Infinity", "NaN"} {
		head = bytes.ReplaceAll(head, []byte(word), []byte("null"))
	}
	return head
}

// FuzzAppend: what Append writes is read back as it was meant.
func FuzzAppend(f *testing.F) {
	f.Add(int64(1795335672908182456), "3f2a91c07be45d18", int64(time.Minute), int64(1), "user:7")
	f.Add(int64(1), `|"\`+"\x00\u2028\U0001f600\xff", int64(-1), int64(0), `|"\`+"\x00\u2028\U0001f600\xff")
	f.Add(int64(1), "t", int64(0), int64(0), "\x00ff")
	f.Fuzz(func(t *testing.T, created int64, version string, expireIn, took int64, tag string) {
		const last = math.MaxInt64 / 1_000_000_000 * 1_000_000_000
		if created <= 0 || created > last-1000 {
			return
		}
		meta := stored.Meta{Created: created, Version: version, ExpireIn: time.Duration(expireIn), Took: time.Duration(took)}
		tags := []stored.Tag{{tag, "hard", "soft"}, {version, "h" + version, "s" + version}}
		meta.Tags = tags
		entry := stored.Append(nil, meta)
		if bytes.Count(entry, []byte("|")) != 1 || !json.Valid(entry[:len(entry)-1]) {
			t.Fatalf("%+v was written as %q", meta, entry)
		}
		got, _, err := stored.Parse(entry)
		if err != nil {
			t.Fatalf("%q: %v", entry, err)
		}
		if want := string([]rune(version)); got.Version != want {
			t.Fatalf("version %q came back as %q", version, got.Version)
		}
		tags[1].Hard, tags[1].Soft = string([]rune(tags[1].Hard)), string([]rune(tags[1].Soft))
		if !reflect.DeepEqual(got.Tags, tags) {
			t.Fatalf("tags %q came back as %q", tags, got.Tags)
		}
		if math.Abs(float64(got.Created-created)) > 1000 || (got.ExpireIn < 0) != (expireIn < 0) || (got.ExpireIn == 0) != (expireIn == 0) || (got.Took > 0) != (took > 0) {
			t.Fatalf("%+v came back as %+v", meta, got)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	meta := stored.Meta{Created: 1795335672908182383, Version: "3f2a91c07be45d18"}
	tagged := meta
	tagged.Tags = []stored.Tag{
		{Name: "user:7", Hard: "5f2a91c07be45d18", Soft: "6f2a91c07be45d18"},
		{Name: "posts", Hard: "7f2a91c07be45d18", Soft: "8f2a91c07be45d18"},
	}
	for name, meta := range map[string]stored.Meta{"token": meta, "tags": tagged} {
		b.Run(name, func(b *testing.B) {
			dst := make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				dst = stored.Append(dst[:0], meta)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for name, entry := range map[string]string{
		"plain": `{"ct": 1795335672.9081824, "v": 2}|{"foo": "bar"}`,
		"token": `{"ct": 1795335672.9081824, "v": 2, "t": "3f2a91c07be45d18"}|{"foo": "bar"}`,
		"took":  `{"ct": 1795335672.9081824, "v": 2, "t": "3f2a91c07be45d18", "d": 0.050123456}|{"foo": "bar"}`,
		"tags":  `{"ct": 1795335672.9081824, "v": 2, "g": ["user:7", "5f2a91c07be45d18", "6f2a91c07be45d18", "posts", "7f2a91c07be45d18", "8f2a91c07be45d18"], "d": 0.050123456}|{"foo": "bar"}`,
	} {
		b.Run(name, func(b *testing.B) {
			data := []byte(entry)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := stored.Parse(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
