package dashboard_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/dashboard"
)

var (
	pageOf = query("region", "region", "products")
	tags   = regexp.MustCompile(`<[^>]*>`)
	blanks = regexp.MustCompile(`\s+`)
)

// words returns what a page says, in one line.
func words(t *testing.T, h http.Handler, at string) string {
	t.Helper()
	text := tags.ReplaceAllString(body(t, h, at), " ")
	return blanks.ReplaceAllString(html.UnescapeString(text), " ")
}

func wantWords(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in: %s", w, text)
		}
	}
}

// TestWhatIsShownIsRight to the last digit: rates, shares, durations and reasons.
func TestWhatIsShownIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{Expiration: time.Minute})
		wantWords(t, words(t, s.board, pageOf), "Asked for – keys a second", "Fresh –", "Over memory, which answers")
		for range 10 {
			for range 6 {
				s.get(t, "k") // one misses
			}
			time.Sleep(time.Second)
		}
		for range 100 {
			_, _ = s.c.GetOrCreate(bg, fmt.Sprint("slow", rand.IntN(1e9)), func(context.Context) (product, error) {
				time.Sleep(100 * time.Millisecond)
				return product{}, nil
			})
		}
		_, err := s.c.GetOrCreate(bg, "bad", func(context.Context) (product, error) { return product{}, errors.New("no <such> thing") })
		if err == nil {
			t.Fatal("a creator that fails has succeeded")
		}
		synctest.Wait()
		text := words(t, s.board, pageOf) // after 60 + 101 in 20 s
		wantWords(t, text, "Asked for 8.1 keys a second", "Fresh 36.6 %", "Stale 0 %", "Missing 63.4 %", "Created 5.1 a second, 0 now",
			"absent 102", "create no <such> thing bad 0 s", " 100 ms ", "Wait –")
		took := regexp.MustCompile(`Creation ([0-9]+) ms`).FindStringSubmatch(text)
		if took == nil || took[1] < "085" && len(took[1]) < 3 && took[1] < "85" || len(took[1]) == 3 && took[1] > "120" {
			t.Errorf("a creation of 100 ms is shown as %q", took)
		}
		time.Sleep(20 * time.Minute)
		wantWords(t, words(t, s.board, pageOf), "Key About, /s None.", "Key Took Ago None.", "Step Error Ago Nothing.")
	})
}

// TestWatchKeepsTheLastTenMinutes for those who come later.
func TestWatchKeepsTheLastTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{})
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		go s.board.Watch(ctx)
		for range 30 {
			s.get(t, "k")
			time.Sleep(time.Minute)
		}
		rows := regexp.MustCompile(`<th scope="row"><time`).FindAllString(body(t, s.board, pageOf), -1)
		if len(rows) < 2*298 || len(rows) > 2*302 { // in each of two tables
			t.Errorf("%d rows", len(rows))
		}
	})
}

// TestFaultsOfOneCauseAreOne: in an outage each error is told in words of its own.
func TestFaultsOfOneCauseAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{})
		refused := errors.New("connection refused")
		for i := range 5 {
			err := fmt.Errorf("get %q: the breaker is open for %ds because: %w", fmt.Sprint("k", i), i, refused)
			s.board.Hooks().Error(bg, dogpile.Event{Region: "products", Op: "get", Key: fmt.Sprint("k", i), Err: err})
			time.Sleep(time.Second)
		}
		s.board.Hooks().Error(bg, dogpile.Event{Region: "products", Op: "get", Key: "k", Err: errors.New("another")})
		text := words(t, s.board, pageOf)
		wantWords(t, text, `get × 5 get "k4": the breaker is open for 4s because: connection refused k4`)
		if n := strings.Count(text, "refused"); n != 1 {
			t.Errorf("told %d times: %s", n, text)
		}
	})
}

// TestTheHottestKeysAreFound among very many, and forgotten when others take their place.
func TestTheHottestKeysAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{})
		hit := s.board.Hooks().Hit
		// ask asks for keys, of which each of five takes a twentieth.
		ask := func(name string) {
			for range 30 {
				for i := range 10_000 {
					key := fmt.Sprint("one of many ", rand.IntN(1e9))
					if i%4 == 0 {
						key = fmt.Sprint(name, " ", i/4%5)
					}
					hit(bg, dogpile.Event{Region: "products", Key: key})
				}
				time.Sleep(time.Second)
			}
		}
		for _, name := range []string{"morning", "evening"} {
			ask(name)
			text := words(t, s.board, pageOf)
			_, list, _ := strings.Cut(text, "Asked for most")
			first := regexp.MustCompile(`(?:` + name + ` \d ([\d,]+) ){5}`).FindStringSubmatch(list)
			if first == nil {
				t.Fatalf("%s: %s", name, list)
			}
			// 500 a second for half of the last minute, which is not all that is remembered.
			if rate := first[1]; len(rate) != 3 || rate < "100" || rate > "750" {
				t.Errorf("%s: %s a second", name, rate)
			}
			// What was asked for once is not taken for more.
			if other := regexp.MustCompile(`one of many \d+ ([\d.,]+) `).FindStringSubmatch(list); other != nil && len(other[1]) > 3 {
				t.Errorf("%s: %s", name, list)
			}
			time.Sleep(5 * time.Minute)
		}
	})
}

// TestWhatIsKeptIsBounded, however many keys there are, and however long.
func TestWhatIsKeptIsBounded(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	hooks := s.board.Hooks()
	before := heap()
	huge := strings.Repeat("x", 1<<20)
	for i := range 200 { // each key twice, and each time as part of something large of its own
		key := (fmt.Sprintf("%08d", i/2) + huge)[:8]
		hooks.Hit(bg, dogpile.Event{Region: "products", Key: key})
		hooks.Create(bg, dogpile.Event{Region: "products", Key: key, Duration: time.Hour, Err: errors.New(key)})
	}
	if grown := int64(heap()) - int64(before); grown > 2<<20 {
		t.Errorf("keys keep %d KiB that they are part of", grown>>10)
	}
	for i := range 20_000 {
		e := dogpile.Event{Region: "products", Key: fmt.Sprint(huge[:i%1000], i), Duration: time.Duration(i), Err: errors.New(huge[:i%5000])}
		hooks.Hit(bg, e)
		hooks.Miss(bg, e)
		hooks.Create(bg, e)
		hooks.Wait(bg, e)
		hooks.Error(bg, e)
		if i%100 == 0 {
			e.Key = huge + e.Key
			hooks.Hit(bg, e)
			hooks.Create(bg, e)
			hooks.Error(bg, e)
		}
	}
	if grown := int64(heap()) - int64(before); grown > 2<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	runtime.KeepAlive(s)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAllocationsOfAHit: the hooks add none.
func TestAllocationsOfAHit(t *testing.T) {
	b, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	board := dashboard.New(nil)
	c := dogpile.NewCache[int](newRegion(t, "numbers", b, dogpile.Options{Hooks: board.Hooks()}), nil)
	create := func(context.Context) (int, error) { return 42, nil }
	if n := testing.AllocsPerRun(10_000, func() { _, _ = c.GetOrCreate(bg, "k", create) }); n >= 1 {
		t.Errorf("a hit allocates %v times", n)
	}
}

func BenchmarkHit(b *testing.B) {
	backend, err := memory.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, hooks := range map[string]*dogpile.Hooks{"without": nil, "with hooks": dashboard.New(nil).Hooks()} {
		r := dogpile.NewRegion(name)
		if err := r.Configure(backend, &dogpile.Options{Hooks: hooks}); err != nil {
			b.Fatal(err)
		}
		c := dogpile.NewCache[int](r, nil)
		create := func(context.Context) (int, error) { return 42, nil }
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = c.GetOrCreate(bg, "k", create)
				}
			})
		})
	}
}

// TestABackendThatHangsHoldsNoPageUp: it is told of, and nothing is left behind by those who
// look and go.
func TestABackendThatHangsHoldsNoPageUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{BackendTimeout: 2500 * time.Millisecond})
		s.b.be(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		ctx, leave := context.WithCancel(bg)
		for range 10 {
			go func() {
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, pageOf, nil)
				s.board.ServeHTTP(httptest.NewRecorder(), r)
			}()
		}
		synctest.Wait()
		leave()
		began := time.Now()
		wantWords(t, words(t, s.board, pageOf), "Over memory, which not asked yet")
		time.Sleep(2 * time.Second)
		wantWords(t, words(t, s.board, pageOf), "which no answer for 2", "The backend of products does not answer.")
		time.Sleep(2 * time.Second)
		wantWords(t, words(t, s.board, pageOf), "which fails : context deadline exceeded", "The backend of products fails.")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the pages took %v", took-4*time.Second)
		}
		if n := s.r.Stats(); n.Errors != 0 {
			t.Errorf("to look at the region is counted: %+v", n)
		}
		time.Sleep(3 * time.Second) // in which the last question ends; the bubble sees to it that no goroutine is left
	})
}

// TestRegionsOfOneName have pages of their own, and so has one without a name.
func TestRegionsOfOneName(t *testing.T) {
	b := newBackend(t)
	o := dashboard.Options{Regions: []*dogpile.Region{
		newRegion(t, "twin", b, dogpile.Options{Expiration: time.Minute}),
		newRegion(t, "twin", b, dogpile.Options{Expiration: time.Hour}),
		newRegion(t, "", b, dogpile.Options{Expiration: 2 * time.Hour}),
	}}
	board := dashboard.Handler(&o)
	links := regexp.MustCompile(`<th scope="row"><a href="([^"]+)"`).FindAllStringSubmatch(body(t, board, "/"), -1)
	if len(links) != 3 {
		t.Fatalf("%q", links)
	}
	for i, want := range []string{"Stale after 1 min 0 s", "Stale after 1 h 0 min", "Stale after 2 h 0 min"} {
		wantWords(t, words(t, board, "/"+html.UnescapeString(links[i][1])), want)
	}
	for _, at := range []string{"/region?region=twin&nth=2", "/region?region=other", "/region", "/key?region=other&key=k", "/other", "/static/", "/static/other"} {
		w := httptest.NewRecorder()
		board.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
		if want := w.Code == http.StatusNotFound; want == (at == "/region") { // which is that of the one without a name
			t.Errorf("%s: %d", at, w.Code)
		}
	}
}

// TestRegionsThatAreGoneAreNotKept in memory for a dashboard that has shown them.
func TestRegionsThatAreGoneAreNotKept(t *testing.T) {
	gone := make(chan struct{})
	board := dashboard.New(nil)
	func() {
		r := dogpile.NewRegion("short-lived")
		if err := r.Configure(newBackend(t), &dogpile.Options{Hooks: board.Hooks()}); err != nil {
			t.Fatal(err)
		}
		runtime.AddCleanup(r, func(gone chan struct{}) { close(gone) }, gone)
		wantWords(t, words(t, board, "/"), "short-lived")
	}()
	for end := time.Now().Add(patience); ; runtime.GC() {
		select {
		case <-gone:
			return
		case <-time.After(10 * time.Millisecond):
			if time.Now().After(end) {
				t.Fatal("the region is kept in memory")
			}
		}
	}
}

// TestHiddenValues: all but the value is shown.
func TestHiddenValues(t *testing.T) {
	at := query("key", "region", "products", "key", "k")
	for hidden, want := range map[bool]string{false: "JSON { \"Name\": \"lamp\", \"Price\": 42 }", true: "Values are not shown."} {
		s := newScene(t, dashboard.Options{HideValues: hidden}, dogpile.Options{})
		s.get(t, "k")
		text := words(t, s.board, at)
		wantWords(t, text, "fresh", "of k", want)
		if hidden && strings.Contains(text, "lamp") {
			t.Error(text)
		}
	}
}

// leftOut has fields that JSON leaves out, whatever their size.
type leftOut struct {
	Shown bool
	Self  []product `json:"-"`
	own   []product
}

// TestValuesOfAnyKind: as they are kept, and no more than can be read.
func TestValuesOfAnyKind(t *testing.T) {
	type node struct {
		Name string
		Next *node
	}
	loop := &node{Name: "loop"}
	loop.Next = loop
	objects, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		set  func(r *dogpile.Region) error
		want []string
	}{
		"an object": {func(r *dogpile.Region) error {
			return dogpile.NewCache[product](r, nil).Set(bg, "k", product{"lamp", 42})
		}, []string{"dashboard_test.product, as JSON", `"Name": "lamp"`}},
		"text": {func(r *dogpile.Region) error { return dogpile.NewCache[string](r, nil).Set(bg, "k", "a <b>\x1b[31m") }, []string{`text a <b>\x1b[31m`}},
		"bytes": {func(r *dogpile.Region) error {
			return dogpile.NewCache[[]byte](r, nil).Set(bg, "k", []byte("\xff\x00ab"))
		}, []string{"bytes, in hexadecimal", "ff 00 61 62", "|..ab|"}},
		"much": {func(r *dogpile.Region) error {
			return dogpile.NewCache[string](r, nil).Set(bg, "k", strings.Repeat("é", 50_000))
		}, []string{"text. The first 16 KiB of 97 KiB. é"}},
		"what is too large": {func(r *dogpile.Region) error {
			return dogpile.NewCache[map[string][]product](r, nil).Set(bg, "k", map[string][]product{"all": make([]product, 100_000)})
		}, []string{"map[string][]dashboard_test.product, as JSON. It cannot be shown: it is too large"}},
		"what is deep": {func(r *dogpile.Region) error {
			return dogpile.NewCache[string](r, nil).Set(bg, "k", strings.Repeat("[", 8000)+strings.Repeat("]", 8000))
		}, []string{"Value text [[[["}},
		"what JSON leaves out": {func(r *dogpile.Region) error {
			return dogpile.NewCache[leftOut](r, nil).Set(bg, "k", leftOut{Shown: true, Self: make([]product, 100_000), own: make([]product, 100_000)})
		}, []string{"leftOut, as JSON", `"Shown": true }`}},
		"quotes and brackets": {func(r *dogpile.Region) error {
			return dogpile.NewCache[[]byte](r, nil).Set(bg, "k", []byte(`{"a\\":"\"[[[`+strings.Repeat("[", 5000)+`","b":[1,2]}`))
		}, []string{`JSON { "a\\": "\"[[[`, `"b": [ 1, 2 ]`}},
		"what has no end":   {func(r *dogpile.Region) error { return dogpile.NewCache[*node](r, nil).Set(bg, "k", loop) }, []string{"*dashboard_test.node, as JSON. It cannot be shown: it is too large, or nested too deep"}},
		"what is not there": {func(r *dogpile.Region) error { return r.Delete(bg, "k") }, []string{"missing Nothing is stored under this key."}},
		"not found": {func(r *dogpile.Region) error {
			none := errors.New("none")
			c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{NotFound: none, NotFoundFor: time.Hour})
			_, _ = c.GetOrCreate(bg, "k", func(context.Context) (int, error) { return 0, none })
			return nil
		}, []string{"fresh , and stands for “not found”", "The answer that there is none."}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t, "any", objects, dogpile.Options{Expiration: time.Hour})
			if err := row.set(r); err != nil {
				t.Fatal(err)
			}
			board := dashboard.Handler(&dashboard.Options{Regions: []*dogpile.Region{r}})
			text := body(t, board, query("key", "region", "any", "key", "k"))
			if len(text) > 100_000 {
				t.Errorf("the page has %d bytes", len(text))
			}
			wantWords(t, words(t, board, query("key", "region", "any", "key", "k")), row.want...)
		})
	}
}
