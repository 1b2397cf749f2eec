package dashboard_test

import (
	"context"
	"errors"
	"fmt"
	"html"
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
	"github.com/dogpile-go/dogpile/driver"
)

// TestRareCausesAreShownAmongFrequentOnes: errors of one step that keep coming hide no others.
func TestRareCausesAreShownAmongFrequentOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{})
		fails := func(key, cause string) {
			s.board.Hooks().Error(bg, dogpile.Event{Region: "products", Op: "get", Key: key, Err: errors.New(cause)})
		}
		for i := range 600 {
			fails("a", "query A is slow")
			time.Sleep(50 * time.Millisecond)
			if i%2 == 0 {
				fails("b", "disk B is full")
			}
		}
		wantWords(t, words(t, s.board, pageOf), "get × 600 query A is slow a", "get × 300 disk B is full b")
		// In an outage they come by the thousand, and not all are looked at.
		for range 300 {
			for i := range 200 {
				fails("a", "query A is slow")
				if i == 10 {
					fails("c", "link C is down")
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		wantWords(t, words(t, s.board, pageOf), "link C is down c")
		// What has failed in the morning is not counted in the evening.
		time.Sleep(time.Hour)
		fails("a", "query A is slow")
		wantWords(t, words(t, s.board, pageOf), "Ago get query A is slow a")
	})
}

// TestAnErrorOfALongKeyIsShown, without the key.
func TestAnErrorOfALongKeyIsShown(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	key := strings.Repeat("k", 16<<10+1)
	s.board.Hooks().Error(bg, dogpile.Event{Region: "products", Op: "get", Key: key, Err: errors.New("no such host")})
	text := words(t, s.board, pageOf)
	wantWords(t, text, "get no such host ")
	if strings.Contains(text, "kkk") {
		t.Error("the key is kept")
	}
}

// full is a backend whose writes fail.
type full struct{ driver.Proxy }

var errFull = errors.New("the disk is full\u202e")

func (full) Set(context.Context, []driver.Item) error { return errFull }
func (full) Delete(context.Context, []string) error   { return errFull }

// Caps implements driver.Describer: the version of the region is in the backend too.
func (f full) Caps() driver.Caps {
	caps := f.Proxy.Caps()
	caps.Shared = true
	return caps
}

// TestChangesThatFailAreShown, though a caller is told of them.
func TestChangesThatFailAreShown(t *testing.T) {
	for name, change := range map[string]func(r *dogpile.Region, c *dogpile.Cache[int]) error{
		"set":        func(_ *dogpile.Region, c *dogpile.Cache[int]) error { return c.Set(bg, "k", 1) },
		"delete":     func(_ *dogpile.Region, c *dogpile.Cache[int]) error { return c.Delete(bg, "k") },
		"invalidate": func(r *dogpile.Region, _ *dogpile.Cache[int]) error { return r.Invalidate(bg, dogpile.Hard) },
		"invalidate a tag": func(r *dogpile.Region, _ *dogpile.Cache[int]) error {
			return r.InvalidateTags(bg, dogpile.Hard, "of k")
		},
	} {
		t.Run(name, func(t *testing.T) {
			board := dashboard.New(nil)
			r := newRegion(t, "products", full{driver.Proxy{Backend: newBackend(t)}}, dogpile.Options{Hooks: board.Hooks()})
			if err := change(r, dogpile.NewCache[int](r, nil)); !errors.Is(err, errFull) {
				t.Fatal(err)
			}
			op, _, _ := strings.Cut(name, " ")
			text := body(t, board, pageOf)
			if !regexp.MustCompile(`<td>` + op + `</td><td><bdi>[^<]*the disk is full\\u202e[^<]*</bdi>`).MatchString(text) {
				t.Errorf("not shown: %s", words(t, board, pageOf))
			}
		})
	}
}

// TestReasonsThatNobodyKnowsAreCounted: of a backend that cannot be asked, or where no entry was
// looked for.
func TestReasonsThatNobodyKnowsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{})
		words(t, s.board, pageOf)
		s.b.be(func(context.Context) error { return errors.New("down") })
		for i := range 5 {
			s.get(t, fmt.Sprint(i))
		}
		time.Sleep(5 * time.Second)
		text := words(t, s.board, pageOf)
		wantWords(t, text, "Reason Times unknown 5 ")
		if strings.Contains(text, "There always was.") {
			t.Error(text)
		}
	})
}

// TestLongTimesAreNumbers in the table, as a plot is drawn from it.
func TestLongTimesAreNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dashboard.Options{}, dogpile.Options{})
		s.get(t, "k")
		words(t, s.board, pageOf)
		for _, d := range []time.Duration{20 * time.Microsecond, time.Millisecond, time.Second, 20 * time.Minute} {
			s.board.Hooks().Create(bg, dogpile.Event{Region: "products", Key: "k", Duration: d})
			time.Sleep(3 * time.Second)
			words(t, s.board, pageOf)
		}
		_, table, _ := strings.Cut(body(t, s.board, pageOf), `<tbody id="took"`)
		table, _, _ = strings.Cut(table, "</tbody>")
		cells := regexp.MustCompile(`<td class="n">([^<]+)</td>`).FindAllStringSubmatch(table, -1)
		if len(cells) != 8 {
			t.Fatalf("%q", cells)
		}
		for _, cell := range cells {
			if !regexp.MustCompile(`^\d+(\.\d+)?$`).MatchString(cell[1]) {
				t.Errorf("%s ms", cell[1])
			}
		}
	})
}

// TestPagesAgreeAboutWhatGoesOn: creators that run are counted everywhere, and nothing else is; so
// are the leases lost in the last ten minutes.
func TestPagesAgreeAboutWhatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t)
		regions := []*dogpile.Region{newRegion(t, "same", b, dogpile.Options{}), newRegion(t, "same", b, dogpile.Options{})}
		board := dashboard.New(&dashboard.Options{Regions: regions})
		goOn := make(chan struct{})
		create := func(_ context.Context, keys []string) (map[string]int, error) {
			<-goOn
			all := make(map[string]int)
			for _, key := range keys {
				all[key] = 1
			}
			return all, nil
		}
		for _, r := range regions { // the second one waits for the first
			go func() { _, _ = dogpile.NewCache[int](r, nil).GetOrCreateMulti(bg, []string{"1", "2", "3"}, create) }()
			time.Sleep(100 * time.Millisecond)
		}
		counts := regexp.MustCompile(`same memory answers – – – – (\d) (\d) (\d)`).FindAllStringSubmatch(words(t, board, "/"), -1)
		if len(counts) != 2 || counts[0][1] != "3" || counts[1][1] != "0" {
			t.Errorf("%q", counts)
		}
		wantWords(t, words(t, board, query("region", "region", "same")), "a second, 3 now")
		wantWords(t, words(t, board, query("region", "region", "same", "nth", "1")), "a second, 0 now")
		close(goOn)
		synctest.Wait()
		c := dogpile.NewCache[int](regions[0], nil)
		_, _ = c.GetOrCreate(bg, "lost", func(ctx context.Context) (int, error) { return 1, c.Delete(ctx, "lost") })
		time.Sleep(3 * time.Second)
		wantWords(t, words(t, board, query("region", "region", "same")), "Leases lost 1 in ten minutes")
		if lost := regexp.MustCompile(`same memory answers .*? (\d) (\d) (\d) same`).FindStringSubmatch(words(t, board, "/")); lost == nil || lost[3] != "1" {
			t.Errorf("%q", lost)
		}
		for range 4 {
			time.Sleep(5 * time.Minute)
			words(t, board, "/")
		}
		wantWords(t, words(t, board, query("region", "region", "same")), "Leases lost 0 in ten minutes", "Leases lost 1 ")
		if lost := regexp.MustCompile(`same memory answers .*? (\d) (\d) (\d) same`).FindStringSubmatch(words(t, board, "/")); lost == nil || lost[3] != "0" {
			t.Errorf("%q", lost)
		}
	})
}

// TestThePrefixMayEndInASlash, which StripPrefix then takes off too.
func TestThePrefixMayEndInASlash(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	for _, strip := range []string{"/debug/dogpile", "/debug/dogpile/"} {
		h := http.StripPrefix(strip, s.board)
		for at, want := range map[string]string{"/debug/dogpile/": "Regions", "/debug/dogpile/?x=1": "Regions", "/debug/dogpile" + pageOf: "Asked for"} {
			wantWords(t, words(t, h, at), want)
		}
	}
}

// TestLinksOfAPageThatIsNot lead to those that are.
func TestLinksOfAPageThatIsNot(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	mux := http.NewServeMux()
	mux.Handle("/debug/dogpile/", http.StripPrefix("/debug/dogpile", s.board))
	for _, at := range []string{"/nowhere", "/region/", "/a/b/c", "/a%2Fb"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/debug/dogpile"+at, nil)
		mux.ServeHTTP(w, r)
		if w.Code != http.StatusNotFound {
			t.Fatalf("%s: %d", at, w.Code)
		}
		links := regexp.MustCompile(` href="([^#"]+)"`).FindAllStringSubmatch(w.Body.String(), -1)
		if len(links) < 4 {
			t.Errorf("%s: %q", at, links)
		}
		for _, link := range links {
			to, err := r.URL.Parse(html.UnescapeString(link[1]))
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, to.String(), nil))
			if w.Code != http.StatusOK {
				t.Errorf("%s: %s leads to %s: %d", at, link[1], to, w.Code)
			}
		}
	}
}

// TestTheAddressOfARegionIsNotThatOfAnother, when it is gone.
func TestTheAddressOfARegionIsNotThatOfAnother(t *testing.T) {
	b := newBackend(t)
	board := dashboard.New(&dashboard.Options{Actions: true})
	var regions []*dogpile.Region
	for range 3 {
		regions = append(regions, newRegion(t, "products", b, dogpile.Options{Expiration: time.Duration(len(regions)+1) * time.Hour}))
	}
	wantWords(t, words(t, board, "/"), "products")
	secret := token(t, board)
	if err := regions[0].Close(bg); err != nil {
		t.Fatal(err)
	}
	for nth, want := range map[string]int{"": http.StatusNotFound, "1": http.StatusOK, "2": http.StatusOK, "3": http.StatusNotFound} {
		at := query("region", "region", "products", "nth", nth)
		w := httptest.NewRecorder()
		board.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
		if w.Code != want {
			t.Errorf("%q: %d", nth, w.Code)
		}
		if want == http.StatusOK {
			wantWords(t, words(t, board, at), fmt.Sprintf("Stale after %d h", nth[0]-'0'+1))
		}
	}
	res := post(t, board, pageOf, form(secret, "invalidate"), nil)
	if n := regions[1].Stats().Invalidations; res.StatusCode != http.StatusNotFound || n != 0 {
		t.Errorf("a form of the one that is gone: %s, and the next one has %d", res.Status, n)
	}
	// A name that nobody has any more is free.
	for _, r := range regions[1:] {
		if err := r.Close(bg); err != nil {
			t.Fatal(err)
		}
	}
	words(t, board, "/")
	newRegion(t, "products", b, dogpile.Options{Expiration: 4 * time.Hour})
	wantWords(t, words(t, board, pageOf), "Stale after 4 h")
}

// TestRegionsThatAreNil are left out.
func TestRegionsThatAreNil(t *testing.T) {
	r := newRegion(t, "products", newBackend(t), dogpile.Options{})
	board := dashboard.New(&dashboard.Options{Regions: []*dogpile.Region{nil, r, r, nil}})
	wantWords(t, words(t, board, "/"), "products")
	for _, at := range []string{pageOf, query("key", "region", "products", "key", "k")} {
		wantWords(t, words(t, board, at), "products")
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	board.Watch(ctx)
}

// untimed is a backend that does not tell when an entry ends.
type untimed struct{ driver.Proxy }

func (u *untimed) Get(ctx context.Context, items []driver.Item) error {
	err := u.Proxy.Get(ctx, items)
	for i := range items {
		items[i].TTL = 0
	}
	return err
}

// TestWhenAnEntryIsDropped is told, or that nobody knows.
func TestWhenAnEntryIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, "products", &untimed{driver.Proxy{Backend: newBackend(t)}}, dogpile.Options{Expiration: time.Minute})
		c := dogpile.NewCache(r, &dogpile.CacheOptions[int]{Expiration: time.Hour})
		board := dashboard.New(&dashboard.Options{Regions: []*dogpile.Region{r}})
		at := query("key", "region", "products", "key", "k")
		if err := c.Set(bg, "k", 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		wantWords(t, words(t, board, at), "Dropped in 1 min 40 s", "fresh")
		time.Sleep(3 * time.Minute)
		wantWords(t, words(t, board, at), "Dropped in unknown: it would be gone by the settings of the region", "expired Age",
			"Judged by the settings of the region, or the entry’s own. A cache may have another expiration.")
		ever := newRegion(t, "products", &untimed{driver.Proxy{Backend: newBackend(t)}}, dogpile.Options{})
		if err := dogpile.NewCache[int](ever, nil).Set(bg, "k", 1); err != nil {
			t.Fatal(err)
		}
		board = dashboard.New(&dashboard.Options{Regions: []*dogpile.Region{ever}})
		wantWords(t, words(t, board, at), "Dropped in no time ends it")
	})
}

// TestWhatCannotBeSeenIsEscaped wherever it comes from.
func TestWhatCannotBeSeenIsEscaped(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	c := dogpile.NewCache(s.r, &dogpile.CacheOptions[int]{Schema: "v2\u202e<b>"})
	if err := c.Set(bg, "k", 1); err != nil {
		t.Fatal(err)
	}
	text := body(t, s.board, query("key", "region", "products", "key", "k"))
	if !strings.Contains(text, `<bdi class="odd">&#34;v2\u202e&lt;b&gt;&#34;</bdi>`) || strings.Contains(text, "\u202e") {
		t.Errorf("the schema: %s", text)
	}
}

// TestDeepJSONCostsLittle to show, though each level indents all that is in it.
func TestDeepJSONCostsLittle(t *testing.T) {
	objects, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRegion(t, "products", objects, dogpile.Options{})
	c := dogpile.NewCache[any](r, nil)
	large := make([]map[string]string, 200_000)
	for i := range large {
		large[i] = map[string]string{"name": "lamp"}
	}
	board := dashboard.New(&dashboard.Options{Regions: []*dogpile.Region{r}})
	for name, value := range map[string]any{
		"deep": strings.Repeat("[", 8000) + strings.Repeat("]", 8000), "in objects": strings.Repeat(`{"a":`, 3000) + "1" + strings.Repeat("}", 3000), "large": large,
	} {
		if err := c.Set(bg, name, value); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body(t, board, query("key", "region", "products", "key", name))
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
			t.Errorf("%s: the page takes %d MiB", name, took>>20)
		}
	}
}

// TestHitsBeyondTheBoundTakeNoLock: those of regions that nothing is kept of.
func TestHitsBeyondTheBoundTakeNoLock(t *testing.T) {
	board := dashboard.New(nil)
	hit := board.Hooks().Hit
	for i := range 1001 {
		hit(bg, dogpile.Event{Region: fmt.Sprint("region ", i), Key: "k"})
	}
	release := board.HoldNames()
	done := make(chan struct{})
	go func() {
		defer close(done)
		hit(bg, dogpile.Event{Region: "one more", Key: "k"})
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("a hit waits for a lock")
	}
	release()
	<-done
	// A look forgets regions that are no more, and there is room again.
	words(t, board, "/")
	r := newRegion(t, "one more", newBackend(t), dogpile.Options{Hooks: board.Hooks()})
	if _, _, err := dogpile.NewCache[int](r, nil).Get(bg, "k"); err != nil {
		t.Fatal(err)
	}
	wantWords(t, words(t, board, query("region", "region", "one more")), "Asked for most")
}
