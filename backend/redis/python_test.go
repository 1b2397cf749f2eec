package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile"
)

// pair is a server that a region here shares with dogpile.cache.
type pair struct {
	*testing.T
	s      *server
	client rueidis.Client
	region *dogpile.Region
	cache  *dogpile.Cache[any]
}

func newPair(t *testing.T) *pair {
	t.Helper()
	t.Parallel()
	s := startServer(t)
	r := configured(t, "shared", open(t, "redis://"+s.addr, nil), &dogpile.Options{
		Expiration: time.Hour, Prefix: dogpile.NoPrefix, KeyFunc: dogpile.PythonKeys("__main__"),
	})
	return &pair{t, s, s.client(t), r, dogpile.NewCache[any](r, nil)}
}

// peer is a Python program that runs.
type peer struct {
	p    *pair
	args []string
	cmd  *exec.Cmd
	out  strings.Builder
}

// start starts Debian's Python, for which Debian's packages are installed.
func (p *pair) start(args ...string) *peer {
	p.Helper()
	r := &peer{p: p, args: args}
	r.cmd = exec.Command(need(p, "/usr/bin/python3"), append([]string{"testdata/peer.py", p.s.port}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	r.cmd.SysProcAttr = dieWithParent()
	ok(p, r.cmd.Start())
	return r
}

// result waits for the program and returns what it has printed.
func (r *peer) result() string {
	r.p.Helper()
	if err := r.cmd.Wait(); err != nil {
		r.p.Fatalf("Python, %v: %v (is something missing? apt-get install %s)\n%s", r.args, err, packages["/usr/bin/python3"], r.out.String())
	}
	return strings.TrimSpace(r.out.String())
}

func (p *pair) python(args ...string) string {
	p.Helper()
	return p.start(args...).result()
}

func (p *pair) creations() int {
	p.Helper()
	n, err := do(p, p.client, "GET", "creations").AsInt64()
	if err != nil && !rueidis.IsRedisNil(err) {
		p.Fatal(err)
	}
	return int(n)
}

// creator counts itself where Python's does.
func (p *pair) creator(v any, takes time.Duration) func(context.Context) (any, error) {
	return func(context.Context) (any, error) {
		do(p, p.client, "INCR", "creations")
		pause(takes)
		return v, nil
	}
}

func (p *pair) locked(key string) {
	p.Helper()
	eventually(p, "the lock on "+key, func() bool {
		n, err := do(p, p.client, "EXISTS", "_lock"+key).AsInt64()
		return err == nil && n == 1
	})
}

// values are JSON as Python writes it.
var values = []string{
	`"v1"`, `""`, `"\u00e9 \u03c0|pipe <&>"`, `0`, `-1.5`, `1180591620717411303424`, `true`, `null`, `[]`, `[1, [2]]`,
	`{"foo": ["bar", 1, false, null], "\u00e9": "|"}`,
}

func same(t testing.TB, what, got, want string) {
	t.Helper()
	var a, b any
	for _, v := range []struct {
		text string
		to   *any
	}{{got, &a}, {want, &b}} {
		d := json.NewDecoder(strings.NewReader(v.text))
		d.UseNumber()
		if err := d.Decode(v.to); err != nil {
			t.Errorf("%s: %q: %v", what, v.text, err)
			return
		}
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if string(x) != string(y) {
		t.Errorf("%s: %s, want %s", what, x, y)
	}
}

func TestPythonReadsWhatGoWrites(t *testing.T) {
	p := newPair(t)
	multi, keys := map[string]any{}, []string{}
	for i, v := range values {
		key := fmt.Sprint("k", i)
		var value any
		d := json.NewDecoder(strings.NewReader(v))
		d.UseNumber()
		ok(t, d.Decode(&value))
		ok(t, p.cache.Set(t.Context(), key, value))
		same(t, "Python gets", p.python("get", key), v)
		multi[key], keys = value, append(keys, key)
	}
	same(t, "Python creates a key that is there", p.python("create", "k0", `"other"`, "0"), values[0])
	ok(t, p.cache.Delete(t.Context(), keys...))
	same(t, "Python gets what Go deleted", p.python("get", "k0"), `"NO_VALUE"`)
	ok(t, p.cache.SetMulti(t.Context(), multi))
	same(t, "Python gets many", p.python(append([]string{"get_multi"}, keys...)...), "["+strings.Join(values, ",")+"]")
	if n := p.creations(); n != 0 {
		t.Errorf("%d creations", n)
	}
}

func TestGoReadsWhatPythonWrites(t *testing.T) {
	p := newPair(t)
	var keys []string
	read := func(what, key, want string) {
		t.Helper()
		v, err := p.cache.GetOrCreate(t.Context(), key, p.creator("other", 0))
		ok(t, err)
		text, err := json.Marshal(v)
		ok(t, err)
		same(t, what, string(text), want)
	}
	all := map[string]json.RawMessage{}
	for i, v := range values {
		key := fmt.Sprint("k", i)
		p.python("set", key, v)
		read("Go gets", key, v)
		all[key], keys = json.RawMessage(v), append(keys, key)
	}
	p.python(append([]string{"delete_multi"}, keys...)...)
	if _, found, err := p.cache.Get(t.Context(), "k0"); found || err != nil {
		t.Errorf("Go gets what Python deleted: %v, %v", found, err)
	}
	text, err := json.Marshal(all)
	ok(t, err)
	p.python("set_multi", string(text))
	got, err := p.cache.GetMulti(t.Context(), keys)
	ok(t, err)
	text2, err := json.Marshal(got)
	ok(t, err)
	same(t, "Go gets many", string(text2), string(text))
	if n := p.creations(); n != 0 {
		t.Errorf("%d creations", n)
	}
}

func TestFunctionsShareKeysWithPython(t *testing.T) {
	p := newPair(t)
	load := dogpile.NewFunc2(p.region, "load", func(_ context.Context, a, b int) (string, error) {
		_, err := p.creator(nil, 0)(t.Context())
		return fmt.Sprint("go ", a, " ", b), err
	}, nil)
	same(t, "Python calls first", p.python("load", "1", "2"), `"python 1 2"`)
	if v, err := load.Call(t.Context(), 1, 2); v != "python 1 2" || err != nil {
		t.Errorf("Go calls second: %q, %v", v, err)
	}
	if v, err := load.Call(t.Context(), 3, 4); v != "go 3 4" || err != nil {
		t.Errorf("Go calls first: %q, %v", v, err)
	}
	same(t, "Python calls second", p.python("load", "3", "4"), `"go 3 4"`)
	if n := p.creations(); n != 2 {
		t.Errorf("%d creations, want 2", n)
	}
}

func TestGoWaitsForPython(t *testing.T) {
	p := newPair(t)
	py := p.start("create", "k", `"python"`, "1")
	p.locked("k")
	if locked, err := p.region.Locked(t.Context(), "k"); !locked || err != nil {
		t.Errorf("while Python creates, Locked = %v, %v", locked, err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if v, err := p.cache.GetOrCreate(t.Context(), "k", p.creator("go", 0)); v != "python" || err != nil {
				t.Errorf("Go got %v, %v", v, err)
			}
		})
	}
	wg.Wait()
	same(t, "Python", py.result(), `"python"`)
	if n := p.creations(); n != 1 {
		t.Errorf("%d creations, want 1", n)
	}
}

func TestPythonWaitsForGo(t *testing.T) {
	p := newPair(t)
	gate, began := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := p.cache.GetOrCreate(t.Context(), "k", func(ctx context.Context) (any, error) {
			close(began)
			<-gate
			return p.creator("go", 0)(ctx)
		})
		done <- err
	}()
	<-began
	same(t, "key_is_locked", p.python("locked", "k"), "true")
	py := p.start("create", "k", `"python"`, "0")
	before := calls(t, p.client, "set")
	eventually(t, "Python to ask for the lock again and again", func() bool { return calls(t, p.client, "set") > before+3 })
	close(gate)
	ok(t, <-done)
	same(t, "Python", py.result(), `"go"`)
	if n := p.creations(); n != 1 {
		t.Errorf("%d creations, want 1", n)
	}
}

func TestOneCreationAmongGoAndPython(t *testing.T) {
	p := newPair(t)
	for round := range 3 {
		key := fmt.Sprint("k", round)
		do(t, p.client, "DEL", "go", "ready", "creations")
		var all []*peer
		for range 2 {
			all = append(all, p.start("threads", "5", key, `"made"`, "0.2"))
		}
		eventually(t, "Python to be ready", func() bool { n, _ := do(t, p.client, "GET", "ready").AsInt64(); return n == 2 })
		var wg sync.WaitGroup
		do(t, p.client, "SET", "go", "1")
		for range 50 {
			wg.Go(func() {
				if v, err := p.cache.GetOrCreate(t.Context(), key, p.creator("made", 200*time.Millisecond)); v != "made" || err != nil {
					t.Errorf("Go got %v, %v", v, err)
				}
			})
		}
		wg.Wait()
		for _, py := range all {
			same(t, "Python", py.result(), `["made", "made", "made", "made", "made"]`)
		}
		if n := p.creations(); n != 1 {
			t.Errorf("round %d: %d creations, want 1", round, n)
		}
	}
}

func TestDeleteDuringPythonsCreationDoesNotDisturbIt(t *testing.T) {
	p := newPair(t)
	for _, forget := range []func() error{
		func() error { return p.cache.Delete(t.Context(), "k") },
		func() error { return p.cache.Set(t.Context(), "k", "go") },
		func() error { return p.region.Invalidate(t.Context(), dogpile.Hard) },
	} {
		do(t, p.client, "DEL", "k")
		py := p.start("create", "k", `"python"`, "0.3")
		p.locked("k")
		ok(t, forget())
		same(t, "Python", py.result(), `"python"`) // and did not raise
		if n, err := do(t, p.client, "EXISTS", "_lockk").AsInt64(); n != 0 || err != nil {
			t.Errorf("its lock is still there: %d, %v", n, err)
		}
	}
}

func TestManyKeysAmongGoAndPython(t *testing.T) {
	p := newPair(t)
	// 1. Python creates b, c, d.  2. Go wants a, b, c, d, e: it creates a and e and
	// waits for the others.
	py := p.start("create_multi", `"python"`, "0.5", "b", "c", "d")
	p.locked("d") // the last one that it takes
	var created []string
	got, err := p.cache.GetOrCreateMulti(t.Context(), []string{"a", "b", "c", "d", "e"}, func(_ context.Context, keys []string) (map[string]any, error) {
		vals := map[string]any{}
		for _, key := range keys {
			vals[key], created = "go", append(created, key)
		}
		return vals, nil
	})
	ok(t, err)
	same(t, "Python", py.result(), `["python", "python", "python"]`)
	if fmt.Sprint(got) != "map[a:go b:python c:python d:python e:go]" || fmt.Sprint(created) != "[a e]" {
		t.Errorf("Go got %v and created %v", got, created)
	}
	same(t, "Python gets many", p.python("create_multi", `"late"`, "0", "a", "b", "e"), `["go", "python", "go"]`)
}
