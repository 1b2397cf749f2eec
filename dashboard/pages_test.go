package dashboard_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/dashboard"
)

// TestNumbersMoveUnderLoad: in the tiles, the tables and the plots.
func TestNumbersMoveUnderLoad(t *testing.T) {
	tb := open(t, newShop(t, dashboard.Options{}))
	tb.visit(query("region", "region", "products"))
	tb.waitFor(`Number(document.querySelector("#tiles dd").textContent) > 0`)
	tb.waitFor(`document.querySelectorAll("#asked tr").length > 2`)
	tb.waitFor(`document.querySelector("#hot a") && document.querySelector("#slow a")`)
	tb.waitFor(`[...document.querySelectorAll("#took td:first-of-type")].some((d) => Number(d.textContent) > 0)`)
	for _, table := range []string{"asked", "took"} {
		tb.waitFor(`document.querySelector("[data-table=` + table + `] canvas")`)
		drawn := `document.querySelector("[data-table=` + table + `] canvas")`
		tb.waitFor(`new Set(` + drawn + `.getContext("2d").getImageData(0, 0, ` + drawn + `.width, ` + drawn + `.height).data).size > 2`)
	}
	before := tb.text("#now")
	tb.waitFor(`document.querySelector("#now").innerText !== ` + quoted(before))
}

func TestTheBreakerAndItsCauseAreShown(t *testing.T) {
	tb := open(t, newShop(t, dashboard.Options{}))
	tb.visit(query("region", "region", "prices"))
	tb.waitFor(`document.querySelector("#backend").innerText.includes("breaker open")`)
	tb.waitFor(`document.querySelector("#backend .cause").innerText.includes("dial tcp 10.0.0.7:6379: connection refused")`)
	tb.waitFor(`document.querySelector("#alarm").textContent.includes("The breaker of prices is open.")`)
	tb.waitFor(`document.querySelector("#trouble").innerText.includes("connection refused")`)
	tb.visit("/")
	tb.waitFor(`[...document.querySelectorAll("#regions tr")].some((r) => r.innerText.includes("prices") && r.innerText.includes("breaker open"))`)
}

// TestCreationsUnderWayAreShown: with those who wait for them.
func TestCreationsUnderWayAreShown(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	tb := open(t, s.board)
	goOn := make(chan struct{})
	ended := make(chan error)
	for range 3 {
		go func() {
			_, err := s.c.GetOrCreate(bg, "slow", func(context.Context) (product, error) { <-goOn; return product{}, nil })
			ended <- err
		}()
	}
	tb.visit("/")
	tb.waitFor(`/slow\s+products\s+.*\s3$/m.test(document.querySelector("#creating").innerText)`)
	tb.click("#creating a")
	tb.waitFor(`document.querySelector(".state.held")`)
	tb.waitFor(`document.querySelector("[aria-labelledby=h-lock]").innerText.includes("this process")`)
	tb.waitFor(fmt.Sprintf(`document.querySelector("[aria-labelledby=h-lock]").innerText.includes("process %d")`, os.Getpid()))
	close(goOn)
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	tb.visit(query("key", "region", "products", "key", "slow"))
	tb.waitFor(`document.querySelector(".state.free") && document.querySelector(".state.fresh")`)
}

// TestARegionWithoutHooks: what it counts is shown, and why there is no more.
func TestARegionWithoutHooks(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{Hooks: new(dogpile.Hooks)})
	tb := open(t, s.board)
	tb.visit(query("region", "region", "products"))
	s.get(t, "k")
	s.get(t, "k")
	tb.waitFor(`/Hits\s*1\s*of them/.test(document.querySelector("#counted").textContent)`)
	tb.waitFor(`document.body.innerText.includes("Dashboard.Hooks")`)
}

// TestHostileKeys are shown as text, and have pages that work.
func TestHostileKeys(t *testing.T) {
	for name, key := range map[string]string{
		"a script":         `<script>document.title = "pwned"; alert(1)</script>`,
		"an attribute":     `" autofocus onfocus="alert(1)" x="`,
		"an image":         `'><img src=x onerror=alert(1)>`,
		"an address":       "javascript:alert(1)",
		"a template":       "{{.Token}}${alert(1)}",
		"4 KiB":            strings.Repeat("<b>long</b> ", 4096/12),
		"4 KiB unbroken":   strings.Repeat("x", 4096),
		"no UTF-8":         "\xff\xfe<b>\x80\x00",
		"right to left":    "photo\u202Egnp.exe\u2066<i>",
		"Hebrew":           "שלום|42",
		"ends of lines":    "a\r\nb\tc\u2028",
		"separators":       "a&key=b#c?d=%00%2F+ e;f",
		"spaces":           "  ",
		"nothing":          "",
		"a parent":         "../../static/live.js",
		"combining":        "Z\u0351\u036b\u0343\u036a\u0302\u036b",
		"what is reserved": "_lock",
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, dashboard.Options{Actions: true}, dogpile.Options{Prefix: "p:"})
			hostile := dogpile.NewCache(s.r, &dogpile.CacheOptions[string]{Tags: func(key string) []string { return []string{key} }})
			_, err := hostile.GetOrCreate(bg, key, func(context.Context) (string, error) { return strings.ToValidUTF8(key, "?"), nil })
			_, _ = hostile.GetOrCreate(bg, "other", func(context.Context) (string, error) { return "", fmt.Errorf("no %s", key) })
			tb := open(t, s.board)
			if key == "_lock" {
				if err == nil {
					t.Fatal("a reserved key can be used")
				}
				tb.visit(query("key", "region", "products", "key", key))
				tb.waitFor(`document.querySelector("[role=alert]").innerText.includes("reserved")`)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tb.visit(query("region", "region", "products"))
			tb.waitFor(`document.querySelectorAll("#hot a").length === 2 && document.querySelectorAll("#slow a").length === 2`)
			tb.waitFor(`document.querySelector("#trouble a")`)
			tb.unharmed(name)
			at := eval[string](tb, `[...document.querySelectorAll("#hot a")].find((a) => !a.href.endsWith("key=other&region=products")).href`)
			tb.do(chromedp.Navigate(at))
			tb.waitFor(`document.querySelector(".state.fresh")`)
			tb.unharmed(name)
			tb.click("form button[value=delete]")
			tb.waitFor(`document.querySelector(".done") && document.querySelector(".state.missing")`)
			if _, ok, err := hostile.Get(bg, key); ok || err != nil {
				t.Errorf("after its page has deleted it: %v, %v", ok, err)
			}
		})
	}
}

// unharmed checks that nothing on the page is of a hostile key's making.
func (tb *tab) unharmed(what string) {
	tb.t.Helper()
	made := eval[int](tb, `document.querySelectorAll("main img, main script, main b, main i, [onfocus], [onerror], a[href^=javascript]").length`)
	if title := tb.text("title"); made != 0 || strings.Contains(title, "pwned") {
		tb.t.Errorf("%d elements, and the title is %q", made, title)
	}
	if text := tb.text("body"); strings.ContainsAny(text, "\u202e\u2066\u2028\x00") {
		tb.t.Errorf("what changes the order of text is in the page")
	}
	tb.accessible(what)
}

// TestEverybodyCanUseIt checks each page in each form with axe.
func TestEverybodyCanUseIt(t *testing.T) {
	tb := open(t, newShop(t, dashboard.Options{Actions: true}))
	tb.visit(query("region", "region", "products"))
	if *pictures != "" {
		time.Sleep(2 * time.Minute) // so that there is something to see
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			tb.look(width, scheme)
			form := fmt.Sprintf("-%s-%d.png", scheme, width)
			tb.visit("/")
			tb.waitFor(`document.querySelector("#regions .open") && document.querySelector("#link").innerText === "Live,"`)
			tb.accessible("overview" + form)
			tb.picture("overview" + form)
			tb.visit(query("region", "region", "products"))
			tb.waitFor(`document.querySelectorAll("canvas").length === 2 && document.querySelector("#hot a")`)
			tb.picture("dashboard" + form)
			tb.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach((d) => d.open = true)`))
			tb.accessible("region" + form)
			tb.visit(query("region", "region", "pages"))
			tb.accessible("region without hooks" + form)
			tb.visit(query("key", "region", "products", "key", "product|1"))
			tb.waitFor(`document.querySelector(".state.fresh, .state.stale")`)
			tb.accessible("key" + form)
			tb.picture("key" + form)
		}
	}
}

// TestTheKeyboardIsLeftAlone: what has the focus keeps it while the page changes around it,
// and the page can be stopped.
func TestTheKeyboardIsLeftAlone(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	s.get(t, "k")
	tb := open(t, s.board)
	tb.visit(query("region", "region", "products"))
	tb.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#slow a").focus()`))
	was := tb.text("#slow")
	tb.waitFor(`document.querySelector("#slow").innerText !== ` + quoted(was))
	if on := eval[string](tb, `document.activeElement.getAttribute("href") + " in " + document.activeElement.closest("tbody")?.id`); on != "key?key=k&region=products in slow" {
		t.Errorf("the focus is on %s", on)
	}
	tb.click("#pause")
	tb.waitFor(`document.querySelector("#link").innerText === "Paused at"`)
	tb.mu.Lock()
	asked := len(tb.requests)
	tb.mu.Unlock()
	time.Sleep(5 * time.Second) // in which a live page asks twice
	tb.mu.Lock()
	if len(tb.requests) > asked+1 { // one may have been under way
		t.Errorf("a page that is paused makes requests: %q", tb.requests[asked:])
	}
	tb.mu.Unlock()
	was = tb.text("#now")
	tb.click("#pause")
	tb.waitFor(`document.querySelector("#now").innerText !== ` + quoted(was))
}

// TestALostConnectionIsTold, and found again.
func TestALostConnectionIsTold(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	gone := make(chan bool, 1)
	gone <- false
	tb := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		is := <-gone
		gone <- is
		if is {
			panic(http.ErrAbortHandler)
		}
		s.board.ServeHTTP(w, r)
	}))
	tb.visit("/")
	<-gone
	gone <- true
	tb.waitFor(`document.querySelector("#link").innerText === "No connection since"`)
	<-gone
	gone <- false
	tb.waitFor(`document.querySelector("#link").innerText === "Live,"`)
	tb.forgive("Failed to load resource: net::")
}

// TestARefusalIsNoLostConnection: the page says what the answer is.
func TestARefusalIsNoLostConnection(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	var status atomic.Int32
	tb := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := int(status.Load()); n != 0 {
			http.Error(w, "no", n)
			return
		}
		s.board.ServeHTTP(w, r)
	}))
	tb.visit("/")
	for n, says := range map[int]string{
		http.StatusNotFound: "Not there any more since", http.StatusForbidden: "Refused since", http.StatusBadGateway: "Error 502 since",
	} {
		status.Store(int32(n))
		tb.waitFor(`document.querySelector("#link").innerText === ` + quoted(says))
		status.Store(0)
		tb.waitFor(`document.querySelector("#link").innerText === "Live,"`)
		tb.forgive(fmt.Sprint("the server responded with a status of ", n))
	}
}

// TestTheTimeOfThePageMoves: what is shown, and what it says to a program.
func TestTheTimeOfThePageMoves(t *testing.T) {
	tb := open(t, newScene(t, dashboard.Options{}, dogpile.Options{}).board)
	tb.visit("/")
	was := tb.text("#now")
	tb.waitFor(`document.querySelector("#now").innerText !== ` + quoted(was))
	if same := eval[[2]string](tb, `((now) => [now.dateTime.slice(11, 19), now.innerText])(document.querySelector("#now"))`); same[0] != same[1] {
		t.Errorf("the page is of %s, and says %s", same[0], same[1])
	}
}

// TestUnderAPrefix: links, scripts and forms work wherever it is mounted.
func TestUnderAPrefix(t *testing.T) {
	s := newScene(t, dashboard.Options{Actions: true}, dogpile.Options{})
	s.get(t, "k")
	mux := http.NewServeMux()
	h := http.StripPrefix("/debug/dogpile", s.board)
	mux.Handle("/debug/dogpile", h)
	mux.Handle("/debug/dogpile/", h)
	tb := open(t, mux)
	tb.visit("/debug/dogpile")
	tb.waitFor(`document.querySelector("#link").innerText === "Live,"`)
	tb.click("#regions a")
	tb.waitFor(`document.querySelector("#hot a")`)
	tb.click("#hot a")
	tb.waitFor(`document.querySelector("form button[value=delete]")`)
	tb.click("form button[value=delete]")
	tb.waitFor(`document.querySelector(".done")`)
	if at := eval[string](tb, "location.pathname"); at != "/debug/dogpile/key" {
		t.Errorf("after a form the browser is at %s", at)
	}
}

// TestThePolicyHolds: even if a page had something in it that is not ours, nothing of it would
// run or be loaded.
func TestThePolicyHolds(t *testing.T) {
	s := newScene(t, dashboard.Options{}, dogpile.Options{})
	s.get(t, "k")
	tb := open(t, s.board)
	for _, at := range []string{"/", pageOf, query("key", "region", "products", "key", "k"), "/nowhere"} {
		tb.visit(at)
		if at == "/nowhere" {
			tb.forgive("/nowhere")
		}
		tb.do(chromedp.Evaluate[chromedp.Void](`{
			document.body.insertAdjacentHTML("beforeend", "<img id='broken' src='static/nothing.png' onerror='document.title = 1'><p id='worn' style='color: red'>");
			document.querySelector("#broken").addEventListener("error", () => document.body.id = "failed"); // which comes after onerror
			const script = document.createElement("script");
			script.textContent = "document.title = 2";
			document.body.append(script);
			for (const tag of ["img", "script"]) {
				const element = document.createElement(tag);
				element.src = "http://127.0.0.1:1/";
				document.body.append(element);
			}
		}`))
		tb.waitFor(`document.querySelector("#worn") && document.body.id === "failed"`)
		if title := eval[string](tb, "document.title"); title == "1" || title == "2" {
			t.Errorf("%s: script %s in the page has run", at, title)
		}
		if colour := eval[string](tb, `getComputedStyle(document.querySelector("#worn")).color`); colour == "rgb(255, 0, 0)" {
			t.Errorf("%s: a style in the page is worn", at)
		}
		tb.forgive("Executing inline script")
		tb.forgive("Applying inline style")
		tb.forgive("Loading the image")
		tb.forgive("Loading the script")
		tb.forgive("Executing inline event handler")
		tb.forgive("nothing.png") // which there is none of
		tb.mu.Lock()
		// Requests that were stopped, if they are told of.
		tb.faults = slices.DeleteFunc(tb.faults, func(f string) bool { return strings.Contains(f, "127.0.0.1:1/") })
		tb.mu.Unlock()
	}
}
