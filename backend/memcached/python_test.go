package memcached_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memcached"
)

// pair is servers that a region here shares with dogpile.cache over one of its
// backends.
type pair struct {
	*testing.T
	backend string
	hosts   string
	lines   []*line
	region  *dogpile.Region
	misses  atomic.Int64
	cache   *dogpile.Cache[any]
}

// peers runs f with each of Python's clients, over one server and over three.
func peers(t *testing.T, f func(p *pair)) {
	t.Helper()
	t.Parallel()
	for backend, hash := range map[string]string{"memcached": "crc32", "pylibmc": "ketama", "pymemcache": "rendezvous"} {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprint(backend, " ", n), func(t *testing.T) {
				t.Parallel()
				p := &pair{T: t, backend: backend}
				var hosts []string
				for range n {
					s := startServer(t)
					hosts, p.lines = append(hosts, s.addr), append(p.lines, s.dial(t))
				}
				p.hosts = strings.Join(hosts, ",")
				b := open(t, "memcached://"+p.hosts+"?python_lock=true", &memcached.Options{Hash: hash})
				p.region = configured(t, "shared", b, &dogpile.Options{
					Expiration: time.Hour, Prefix: dogpile.NoPrefix, KeyFunc: dogpile.PythonKeys("__main__"), BackendTimeout: time.Minute,
					Hooks: &dogpile.Hooks{Miss: func(context.Context, dogpile.Event) { p.misses.Add(1) }},
				})
				p.cache = dogpile.NewCache[any](p.region, nil)
				f(p)
			})
		}
	}
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
	r.cmd = exec.Command(need(p, "/usr/bin/python3"), append([]string{"testdata/peer.py", p.backend, p.hosts}, args...)...)
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

// count returns a number that Python counts, which is on the first server.
func (p *pair) count(key string) (n int) {
	p.Helper()
	if got := p.lines[0].do("mg " + key + " v"); got[0] != "EN" {
		if _, err := fmt.Sscan(got[1], &n); err != nil {
			p.Fatal(err)
		}
	}
	return n
}

var counting sync.Mutex // of lines

// creator counts itself where Python's does.
func (p *pair) creator(v any, takes time.Duration) func(context.Context) (any, error) {
	return func(context.Context) (any, error) {
		counting.Lock()
		p.lines[0].do("ma creations N0 J1")
		counting.Unlock()
		pause(takes)
		return v, nil
	}
}

// answers reports whether one of the servers gives an answer that begins so.
func (p *pair) answers(command, begin string) bool {
	p.Helper()
	for _, l := range p.lines {
		if strings.HasPrefix(l.one(command), begin) {
			return true
		}
	}
	return false
}

func (p *pair) has(key string) bool { p.Helper(); return p.answers("mg "+key, "HD") }

func (p *pair) locked(key string) {
	p.Helper()
	eventually(p, "the lock on "+key, func() bool { return p.has("_lock" + key) })
}

func (p *pair) wantCreations(want int) {
	p.Helper()
	if n := p.count("creations"); n != want {
		p.Errorf("%d creations, want %d", n, want)
	}
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

// keyed returns the values under keys.
func keyed() (keys []string, all map[string]json.RawMessage) {
	all = map[string]json.RawMessage{}
	for i, v := range values {
		key := fmt.Sprint("k", i)
		keys, all[key] = append(keys, key), json.RawMessage(v)
	}
	return keys, all
}

func TestPythonReadsWhatGoWrites(t *testing.T) {
	peers(t, func(p *pair) {
		keys, all := keyed()
		for key, v := range all {
			var value any
			d := json.NewDecoder(strings.NewReader(string(v)))
			d.UseNumber()
			ok(p, d.Decode(&value))
			ok(p, p.cache.Set(p.Context(), key, value))
		}
		same(p, "Python gets many", p.python(append([]string{"get_multi"}, keys...)...), "["+strings.Join(values, ",")+"]")
		same(p, "Python gets", p.python("get", keys[2]), values[2])
		same(p, "Python creates a key that is there", p.python("create", keys[0], `"other"`, ""), values[0])
		ok(p, p.cache.Delete(p.Context(), keys...))
		same(p, "Python gets what Go deleted", p.python("get", keys[0]), `"NO_VALUE"`)
		p.wantCreations(0)
	})
}

func TestGoReadsWhatPythonWrites(t *testing.T) {
	peers(t, func(p *pair) {
		keys, all := keyed()
		text, err := json.Marshal(all)
		ok(p, err)
		p.python("set_multi", string(text))
		got, err := p.cache.GetMulti(p.Context(), keys)
		ok(p, err)
		text2, err := json.Marshal(got)
		ok(p, err)
		same(p, "Go gets many", string(text2), string(text))
		p.python("set", "one", values[2])
		v, err := p.cache.GetOrCreate(p.Context(), "one", p.creator("other", 0))
		ok(p, err)
		text, err = json.Marshal(v)
		ok(p, err)
		same(p, "Go gets one", string(text), values[2])
		long := strings.Repeat("long ", 100)
		if p.backend != "pymemcache" { // which does not compress
			p.python("set_compressed", "long", `"`+long+`"`)
			if !p.answers("mg long f", "HD f8") {
				p.Error("Python has not compressed it")
			}
			if v, found, err := p.cache.Get(p.Context(), "long"); v != long || !found || err != nil {
				p.Errorf("what Python compressed is %v, %v, %v", v, found, err)
			}
		}
		p.python(append([]string{"delete_multi"}, keys...)...)
		if _, found, err := p.cache.Get(p.Context(), keys[0]); found || err != nil {
			p.Errorf("Go gets what Python deleted: %v, %v", found, err)
		}
		p.wantCreations(0)
	})
}

func TestFunctionsShareKeysWithPython(t *testing.T) {
	peers(t, func(p *pair) {
		load := dogpile.NewFunc(p.region, "load", func(ctx context.Context, a int) (string, error) {
			_, err := p.creator(nil, 0)(ctx)
			return fmt.Sprint("go ", a), err
		}, nil)
		same(p, "Python calls first", p.python("load", "1"), `"python 1"`)
		if v, err := load.Call(p.Context(), 1); v != "python 1" || err != nil {
			p.Errorf("Go calls second: %q, %v", v, err)
		}
		if v, err := load.Call(p.Context(), 3); v != "go 3" || err != nil {
			p.Errorf("Go calls first: %q, %v", v, err)
		}
		same(p, "Python calls second", p.python("load", "3"), `"go 3"`)
		p.wantCreations(2)
	})
}

func TestGoWaitsForPython(t *testing.T) {
	peers(t, func(p *pair) {
		py := p.start("create", "k", `"python"`, "finish")
		p.locked("k")
		if locked, err := p.region.Locked(p.Context(), "k"); !locked || err != nil {
			p.Errorf("while Python creates, Locked = %v, %v", locked, err)
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if v, err := p.cache.GetOrCreate(p.Context(), "k", p.creator("go", 0)); v != "python" || err != nil {
					p.Errorf("Go got %v, %v", v, err)
				}
			})
		}
		eventually(p, "all to have found nothing", func() bool { return p.misses.Load() == 20 })
		p.put("finish")
		wg.Wait()
		same(p, "Python", py.result(), `"python"`)
		p.wantCreations(1)
	})
}

func TestPythonWaitsForGo(t *testing.T) {
	peers(t, func(p *pair) {
		gate, began := make(chan struct{}), make(chan struct{})
		done := make(chan error, 1)
		go func() {
			_, err := p.cache.GetOrCreate(p.Context(), "k", func(ctx context.Context) (any, error) {
				close(began)
				<-gate
				return p.creator("go", 0)(ctx)
			})
			done <- err
		}()
		<-began
		same(p, "key_is_locked", p.python("locked", "k"), "true")
		same(p, "Python gets what is being created", p.python("get", "k"), `"NO_VALUE"`)
		before := p.sets()
		py := p.start("create", "k", `"python"`, "")
		eventually(p, "Python to ask for the lock again and again", func() bool { return p.sets() > before+2 })
		close(gate)
		ok(p, <-done)
		same(p, "Python", py.result(), `"go"`)
		p.wantCreations(1)
	})
}

// put makes a key that Python waits for.
func (p *pair) put(key string) {
	p.Helper()
	if got := p.lines[0].one("ms "+key+" 1", "x"); got != "HD" {
		p.Fatal(got)
	}
}

// sets returns how many commands were sent that store, in vain as well.
func (p *pair) sets() (n int) {
	p.Helper()
	for _, l := range p.lines {
		n += l.stat("cmd_set")
	}
	return n
}

func TestOneCreationAmongGoAndPython(t *testing.T) {
	peers(t, func(p *pair) {
		for round := range 2 {
			key := fmt.Sprint("k", round)
			p.lines[0].do("md go", "md ready", "md creations")
			var all []*peer
			for range 2 {
				all = append(all, p.start("threads", "3", key, `"made"`, ""))
			}
			eventually(p, "Python to be ready", func() bool { return p.count("ready") == 2 })
			var wg sync.WaitGroup
			p.put("go")
			for range 20 {
				wg.Go(func() {
					if v, err := p.cache.GetOrCreate(p.Context(), key, p.creator("made", 200*time.Millisecond)); v != "made" || err != nil {
						p.Errorf("Go got %v, %v", v, err)
					}
				})
			}
			wg.Wait()
			for _, py := range all {
				same(p, "Python", py.result(), `["made", "made", "made"]`)
			}
			p.wantCreations(1)
		}
	})
}

func TestDeleteDuringPythonsCreationDoesNotDisturbIt(t *testing.T) {
	peers(t, func(p *pair) {
		for name, forget := range map[string]func() error{
			"Delete":     func() error { return p.cache.Delete(p.Context(), "k") },
			"Set":        func() error { return p.cache.Set(p.Context(), "k", "go") },
			"Invalidate": func() error { return p.region.Invalidate(p.Context(), dogpile.Hard) },
		} {
			p.python("delete", "k")
			p.lines[0].do("md finish")
			before := p.count("creations")
			py := p.start("create", "k", `"python"`, "finish")
			eventually(p, "Python to create", func() bool { return p.count("creations") > before })
			ok(p, forget())
			if !p.has("_lockk") {
				p.Errorf("%s took Python's lock", name)
			}
			p.put("finish")
			same(p, "Python", py.result(), `"python"`)
			if p.has("_lockk") {
				p.Error("its lock is still there")
			}
		}
	})
}

func TestManyKeysAmongGoAndPython(t *testing.T) {
	peers(t, func(p *pair) {
		// 1. Python creates b, c, d.  2. Go wants a, b, c, d, e: it creates a and e and
		// waits for the others.
		py := p.start("create_multi", `"python"`, "finish", "b", "c", "d")
		p.locked("d") // the last one that it takes
		var created []string
		got, err := p.cache.GetOrCreateMulti(p.Context(), []string{"a", "b", "c", "d", "e"}, func(_ context.Context, keys []string) (map[string]any, error) {
			vals := map[string]any{}
			for _, key := range keys {
				vals[key], created = "go", append(created, key)
			}
			p.put("finish")
			return vals, nil
		})
		ok(p, err)
		same(p, "Python", py.result(), `["python", "python", "python"]`)
		if fmt.Sprint(got) != "map[a:go b:python c:python d:python e:go]" || fmt.Sprint(created) != "[a e]" {
			p.Errorf("Go got %v and created %v", got, created)
		}
		same(p, "Python gets many", p.python("create_multi", `"late"`, "", "a", "b", "e"), `["go", "python", "go"]`)
	})
}
