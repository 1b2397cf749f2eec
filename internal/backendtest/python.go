//go:build unix

package backendtest

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
)

// python is Debian's, for which Debian's packages are installed.
const python = "/usr/bin/python3"

//go:embed testdata/peer.py
var peerProgram string

// Shelf is servers as a region here and dogpile.cache share them: what both keep
// there, and what the tests count there.
type Shelf interface {
	// Has reports whether there is something under key.
	Has(t testing.TB, key string) bool
	// Put makes a key that Python waits for.
	Put(t testing.TB, key string)
	// Remove removes keys.
	Remove(t testing.TB, keys ...string)
	// Count returns a number; 0 for none.
	Count(t testing.TB, key string) int
	// Increment adds 1 to a number. It may be called from many goroutines.
	Increment(t testing.TB, key string)
	// Stores returns how many commands were sent that store, in vain as well.
	Stores(t testing.TB) int
}

// Pair is a region here and dogpile.cache in Python over the same servers, with
// one test.
type Pair struct {
	*testing.T
	Shelf
	// Backend is the name of Python's.
	Backend string
	// Hosts are those of the servers.
	Hosts string
	// Region is the one here.
	Region *dogpile.Region
	// Cache is of Region.
	Cache *dogpile.Cache[any]

	misses atomic.Int64
}

// NewPair returns one whose region is over the backend that url opens.
func NewPair(t *testing.T, backend, hosts, url string, shelf Shelf) *Pair {
	t.Helper()
	p := &Pair{T: t, Shelf: shelf, Backend: backend, Hosts: hosts}
	p.Region = Region(t, "shared", Open(t, WithArgs(url, patient...)), &dogpile.Options{
		Expiration: time.Hour, Prefix: dogpile.NoPrefix, KeyFunc: dogpile.PythonKeys("__main__"),
		Hooks: &dogpile.Hooks{Miss: func(context.Context, dogpile.Event) { p.misses.Add(1) }},
	})
	p.Cache = dogpile.NewCache[any](p.Region, nil)
	return p
}

// peer is a Python program that runs.
type peer struct {
	p    *Pair
	args []string
	cmd  *exec.Cmd
	out  strings.Builder
}

func (p *Pair) start(args ...string) *peer {
	p.Helper()
	r := &peer{p: p, args: args}
	r.cmd = exec.Command(Need(p, python), append([]string{"-c", peerProgram, p.Backend, p.Hosts}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	r.cmd.SysProcAttr = dieWithParent()
	OK(p, r.cmd.Start())
	return r
}

// result waits for the program and returns what it has printed.
func (r *peer) result() string {
	r.p.Helper()
	if err := r.cmd.Wait(); err != nil {
		r.p.Fatalf("Python, %v: %v (is something missing? apt-get install %s)\n%s", r.args, err, packages[python], r.out.String())
	}
	return strings.TrimSpace(r.out.String())
}

// Python runs an operation of testdata/peer.py and returns its result, as JSON.
func (p *Pair) Python(args ...string) string {
	p.Helper()
	return p.start(args...).result()
}

// Creator returns a creator of v that counts itself where Python's does.
func (p *Pair) Creator(v any, takes time.Duration) func(context.Context) (any, error) {
	return func(context.Context) (any, error) {
		p.Increment(p, "creations")
		Pause(takes)
		return v, nil
	}
}

// WantCreations fails the test unless there were so many, here and in Python.
func (p *Pair) WantCreations(want int) {
	p.Helper()
	if n := p.Count(p, "creations"); n != want {
		p.Errorf("%d creations, want %d", n, want)
	}
}

// Same fails the test unless two texts are the same JSON.
func (p *Pair) Same(what, got, want string) {
	p.Helper()
	var a, b any
	for _, v := range []struct {
		text string
		to   *any
	}{{got, &a}, {want, &b}} {
		if err := decode(v.text, v.to); err != nil {
			p.Errorf("%s: %q: %v", what, v.text, err)
			return
		}
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		p.Errorf("%s: %s, want %s", what, x, y)
	}
}

// decode keeps numbers as they are written.
func decode(text string, v any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return d.Decode(v)
}

func (p *Pair) waitForLock(key string) {
	p.Helper()
	Eventually(p, "the lock on "+key, func() bool { return p.Has(p, "_lock"+key) })
}

// Python checks that a region here and dogpile.cache in Python share entries and
// the lock. pairs calls its argument with each pair that is to be checked, in
// tests of their own; each has servers of its own.
func Python(t *testing.T, pairs func(t *testing.T, check func(*Pair))) {
	for name, check := range map[string]func(*Pair){
		"Python reads what Go writes":                        pythonReads,
		"Go reads what Python writes":                        goReads,
		"functions share keys":                               functionsShareKeys,
		"Go waits for Python":                                goWaits,
		"Python waits for Go":                                pythonWaits,
		"one creation among all":                             oneCreation,
		"a Delete during Python's creation does not disturb": deleteDuringCreation,
		"many keys":                                          manyKeys,
		"not found is None":                                  notFoundIsNone,
		"tagged entries are like others":                     taggedEntries,
		"Python's lock is shown as such":                     pythonHolds,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pairs(t, check)
		})
	}
}

// taggedEntries checks that Python reads entries with tags, and replaces them by entries
// without, which no invalidation of tags reaches.
func taggedEntries(p *Pair) {
	tags := []string{"product:42", "a|b", "\x00\xff", "é"}
	_, err := p.Cache.GetOrCreate(p.Context(), "k", func(ctx context.Context) (any, error) {
		dogpile.Creation(ctx).Tag(ctx, tags...)
		return "go", nil
	})
	OK(p, err)
	p.Same("Python gets", p.Python("get", "k"), `"go"`)
	p.Same("Python gets many", p.Python("get_multi", "k"), `["go"]`)
	p.Same("Python creates a key that is there", p.Python("create", "k", `"other"`, ""), `"go"`)
	OK(p, p.Region.InvalidateTags(p.Context(), dogpile.Hard, tags...))
	if v, ok, err := p.Cache.Get(p.Context(), "k"); ok || err != nil {
		p.Errorf("after InvalidateTags: %v, %v", v, err)
	}
	p.Python("set_multi", `{"k": "python"}`)
	known := p.Cache.With(dogpile.CacheOptions[any]{Tags: func(string) []string { return tags }})
	for range 2 {
		if v, ok, err := known.Get(p.Context(), "k"); v != "python" || !ok || err != nil {
			p.Errorf("what Python has set: %v, %v, %v", v, ok, err)
		}
		OK(p, p.Region.InvalidateTags(p.Context(), dogpile.Hard, tags...))
	}
}

// To Python the answer "there is none" is a None that is stored, and so is what Python
// stores to a program here. An entry with a schema is one like any other to it.
func notFoundIsNone(p *Pair) {
	knows := p.Cache.With(dogpile.CacheOptions[any]{NotFound: errNone, NotFoundFor: time.Hour})
	_, err := knows.GetOrCreate(p.Context(), "k", func(context.Context) (any, error) { return nil, errNone })
	wantNone(p.T, err)
	_, err = knows.GetOrCreateMulti(p.Context(), []string{"left-out"}, func(context.Context, []string) (map[string]any, error) { return nil, nil })
	OK(p, err)
	p.Same("Python gets", p.Python("get", "k"), "null")
	p.Same("Python creates", p.Python("create", "k", `"other"`, ""), "null")
	p.Same("Python gets many", p.Python("get_multi", "k", "left-out"), "[null, null]")
	if _, _, err := knows.Get(p.Context(), "k"); err != errNone {
		p.Errorf("Go gets what Python has read: %v", err)
	}
	p.Python("set", "k", "null")
	if v, ok, err := knows.Get(p.Context(), "k"); v != nil || !ok || err != nil {
		p.Errorf("Go gets Python's None: %v, %v, %v", v, ok, err)
	}
	OK(p, p.Cache.With(dogpile.CacheOptions[any]{Schema: "2"}).Set(p.Context(), "s", "v"))
	p.Same("Python gets an entry with a schema", p.Python("get", "s"), `"v"`)
	p.WantCreations(0)
}

// values are JSON as Python writes it.
var values = []string{
	`"v1"`, `""`, `"\u00e9 \u03c0|pipe <&>"`, `0`, `-1.5`, `1180591620717411303424`, `true`, `null`, `[]`, `[1, [2]]`,
	`{"foo": ["bar", 1, false, null], "\u00e9": "|"}`,
}

// keyed returns the values under keys.
func keyed() (keys []string, all map[string]json.RawMessage) {
	all = map[string]json.RawMessage{}
	for i, v := range values {
		key := fmt.Sprint("k", i)
		keys, all[key] = append(keys, key), json.RawMessage(v)
	}
	return keys, all
}

func pythonReads(p *Pair) {
	keys, all := keyed()
	multi := map[string]any{}
	for key, text := range all {
		var value any
		OK(p, decode(string(text), &value))
		OK(p, p.Cache.Set(p.Context(), key, value))
		multi[key] = value
	}
	want := "[" + strings.Join(values, ",") + "]"
	p.Same("Python gets many", p.Python(append([]string{"get_multi"}, keys...)...), want)
	p.Same("Python gets", p.Python("get", keys[2]), values[2])
	p.Same("Python creates a key that is there", p.Python("create", keys[0], `"other"`, ""), values[0])
	OK(p, p.Cache.Delete(p.Context(), keys...))
	p.Same("Python gets what Go deleted", p.Python("get", keys[0]), `"NO_VALUE"`)
	OK(p, p.Cache.SetMulti(p.Context(), multi))
	p.Same("Python gets many that were set at once", p.Python(append([]string{"get_multi"}, keys...)...), want)
	p.WantCreations(0)
}

func goReads(p *Pair) {
	keys, all := keyed()
	text, err := json.Marshal(all)
	OK(p, err)
	p.Python("set_multi", string(text))
	got, err := p.Cache.GetMulti(p.Context(), keys)
	OK(p, err)
	gotText, err := json.Marshal(got)
	OK(p, err)
	p.Same("Go gets many", string(gotText), string(text))
	for key, want := range all {
		v, err := p.Cache.GetOrCreate(p.Context(), key, p.Creator("other", 0))
		OK(p, err)
		text, err := json.Marshal(v)
		OK(p, err)
		p.Same("Go gets", string(text), string(want))
	}
	p.Python("set", "one", values[2])
	v, err := p.Cache.GetOrCreate(p.Context(), "one", p.Creator("other", 0))
	OK(p, err)
	text, err = json.Marshal(v)
	OK(p, err)
	p.Same("Go gets one", string(text), values[2])
	p.Python(append([]string{"delete_multi"}, keys...)...)
	if _, found, err := p.Cache.Get(p.Context(), keys[0]); found || err != nil {
		p.Errorf("Go gets what Python deleted: %v, %v", found, err)
	}
	p.WantCreations(0)
}

func functionsShareKeys(p *Pair) {
	load := dogpile.NewFunc(p.Region, "load", func(ctx context.Context, a int) (string, error) {
		_, err := p.Creator(nil, 0)(ctx)
		return fmt.Sprint("go ", a), err
	}, nil)
	p.Same("Python calls first", p.Python("load", "1"), `"python 1"`)
	if v, err := load.Call(p.Context(), 1); v != "python 1" || err != nil {
		p.Errorf("Go calls second: %q, %v", v, err)
	}
	if v, err := load.Call(p.Context(), 3); v != "go 3" || err != nil {
		p.Errorf("Go calls first: %q, %v", v, err)
	}
	p.Same("Python calls second", p.Python("load", "3"), `"go 3"`)
	p.WantCreations(2)
}

func goWaits(p *Pair) {
	py := p.start("create", "k", `"python"`, "finish")
	p.waitForLock("k")
	if locked, err := p.Region.Locked(p.Context(), "k"); !locked || err != nil {
		p.Errorf("while Python creates, Locked = %v, %v", locked, err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if v, err := p.Cache.GetOrCreate(p.Context(), "k", p.Creator("go", 0)); v != "python" || err != nil {
				p.Errorf("Go got %v, %v", v, err)
			}
		})
	}
	Eventually(p, "all to have found nothing", func() bool { return p.misses.Load() == 20 })
	p.Put(p, "finish")
	wg.Wait()
	p.Same("Python", py.result(), `"python"`)
	p.WantCreations(1)
}

func pythonWaits(p *Pair) {
	gate, began := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := p.Cache.GetOrCreate(p.Context(), "k", func(ctx context.Context) (any, error) {
			close(began)
			<-gate
			return p.Creator("go", 0)(ctx)
		})
		done <- err
	}()
	<-began
	p.Same("key_is_locked", p.Python("locked", "k"), "true")
	p.Same("Python gets what is being created", p.Python("get", "k"), `"NO_VALUE"`)
	before := p.Stores(p)
	py := p.start("create", "k", `"python"`, "")
	Eventually(p, "Python to ask for the lock again and again", func() bool { return p.Stores(p) > before+2 })
	close(gate)
	OK(p, <-done)
	p.Same("Python", py.result(), `"go"`)
	p.WantCreations(1)
}

func oneCreation(p *Pair) {
	for round := range 3 {
		key := fmt.Sprint("k", round)
		p.Remove(p, "go", "ready", "creations")
		var all []*peer
		for range 2 {
			all = append(all, p.start("threads", "5", key, `"made"`, ""))
		}
		Eventually(p, "Python to be ready", func() bool { return p.Count(p, "ready") == 2 })
		var wg sync.WaitGroup
		p.Put(p, "go")
		for range 50 {
			wg.Go(func() {
				if v, err := p.Cache.GetOrCreate(p.Context(), key, p.Creator("made", 200*time.Millisecond)); v != "made" || err != nil {
					p.Errorf("Go got %v, %v", v, err)
				}
			})
		}
		wg.Wait()
		for _, py := range all {
			p.Same("Python", py.result(), `["made", "made", "made", "made", "made"]`)
		}
		p.WantCreations(1)
	}
}

func deleteDuringCreation(p *Pair) {
	for name, forget := range map[string]func() error{
		"Delete":     func() error { return p.Cache.Delete(p.Context(), "k") },
		"Set":        func() error { return p.Cache.Set(p.Context(), "k", "go") },
		"Invalidate": func() error { return p.Region.Invalidate(p.Context(), dogpile.Hard) },
	} {
		p.Python("delete", "k")
		p.Remove(p, "finish")
		before := p.Count(p, "creations")
		py := p.start("create", "k", `"python"`, "finish")
		Eventually(p, "Python to create", func() bool { return p.Count(p, "creations") > before })
		OK(p, forget())
		if !p.Has(p, "_lockk") {
			p.Errorf("%s took Python's lock", name)
		}
		p.Put(p, "finish")
		p.Same("Python", py.result(), `"python"`) // and did not raise
		if p.Has(p, "_lockk") {
			p.Errorf("%s: Python's lock is still there", name)
		}
	}
}

// 1. Python creates b, c, d.  2. Go wants a, b, c, d, e: it creates a and e and
// waits for the others.
func manyKeys(p *Pair) {
	py := p.start("create_multi", `"python"`, "finish", "b", "c", "d")
	p.waitForLock("d") // the last one that it takes
	var created []string
	got, err := p.Cache.GetOrCreateMulti(p.Context(), []string{"a", "b", "c", "d", "e"}, func(_ context.Context, keys []string) (map[string]any, error) {
		vals := map[string]any{}
		for _, key := range keys {
			vals[key], created = "go", append(created, key)
		}
		p.Put(p, "finish")
		return vals, nil
	})
	OK(p, err)
	p.Same("Python", py.result(), `["python", "python", "python"]`)
	if fmt.Sprint(got) != "map[a:go b:python c:python d:python e:go]" || fmt.Sprint(created) != "[a e]" {
		p.Errorf("Go got %v and created %v", got, created)
	}
	p.Same("Python gets many", p.Python("create_multi", `"late"`, "", "a", "b", "e"), `["go", "python", "go"]`)
}
