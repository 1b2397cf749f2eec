package tiles_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/memory"
	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/tiles"
)

var pictures = flag.String("pictures", "", "`directory` to put pictures of the page into")

// tab is the page of a map in a browser. Errors in its console, and what the policy of the page
// forbids, fail the test.
type tab struct {
	t   *testing.T
	ctx context.Context
	at  string

	mu     sync.Mutex
	faults []string
}

// open serves a map over a region and opens its page. A browser that is missing fails the test.
func open(t *testing.T, name string) (*tab, *dogpile.Region) {
	t.Helper()
	b, err := memory.New(nil)
	ok(t, err)
	region := dogpile.NewRegion("tiles")
	ok(t, region.Configure(b, &dogpile.Options{Expiration: time.Hour, Runner: dogpile.Background, Logger: slog.New(slog.DiscardHandler)}))
	server := httptest.NewServer(tiles.New(region, time.Millisecond, name, "memory; tiles expire after 1h0m0s"))
	t.Cleanup(server.Close)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox) // which needs rights that tests seldom have
	allocated, end := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	tb := &tab{t: t, ctx: ctx, at: server.URL}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal("a browser is needed (Debian: chromium): ", err)
	}
	ok(t, chromedp.Listen(ctx, tb.hear))
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	ok(t, err)
	tb.visit()
	return tb, region
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (tb *tab) hear(event any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level != log.EntryLevelInfo && e.Entry.Level != log.EntryLevelVerbose {
			tb.faults = append(tb.faults, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		tb.faults = append(tb.faults, e.ExceptionDetails.Text)
	}
}

// harmless fails the test if anything went wrong in the page.
func (tb *tab) harmless() {
	tb.t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, f := range tb.faults {
		tb.t.Error("in the browser: ", f)
	}
}

func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, time.Minute)
	defer cancel()
	ok(tb.t, chromedp.Do(ctx, steps...))
}

func (tb *tab) visit() { tb.t.Helper(); tb.do(chromedp.Navigate(tb.at + "/")) }

func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	ok(tb.t, err)
	return v
}

// marks waits until all tiles have that mark.
func (tb *tab) marks(want string) {
	tb.t.Helper()
	tb.until(fmt.Sprintf(`document.querySelectorAll("#map .%s:not(.asked)").length === 16`, want))
	if text := eval[string](tb, `[...new Set([...document.querySelectorAll("#map span")].map(s => s.textContent))].join()`); text != want {
		tb.t.Errorf("the marks are %s, want %s", text, want)
	}
}

func (tb *tab) until(expression string) {
	tb.t.Helper()
	for end := time.Now().Add(time.Minute); !eval[bool](tb, expression); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			tb.t.Fatalf("in vain for %s; the page says %q at %s", expression, eval[string](tb, "document.body.innerText"), eval[string](tb, "location.hash"))
		}
	}
}

// key presses a key.
func (tb *tab) key(name string) {
	tb.t.Helper()
	eval[bool](tb, fmt.Sprintf(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: %q, bubbles: true}))`, name))
}

func (tb *tab) at4x4(hash string) {
	tb.t.Helper()
	tb.until(fmt.Sprintf("location.hash === %q", hash))
}

// look gives the browser that width and colour scheme, checks the page as axe does, and takes a
// picture if pictures are asked for.
func (tb *tab) look(width int64, scheme, picture string) {
	tb.t.Helper()
	tb.do(chromedp.EmulateViewport(width, 900))
	_, err := chromedp.Call(tb.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	ok(tb.t, err)
	axe, err := os.ReadFile("../../../../dashboard/testdata/axe.min.js")
	ok(tb.t, err)
	var found []struct{ ID, Impact, Help string }
	ok(tb.t, json.Unmarshal([]byte(eval[string](tb, string(axe)+`; axe.run(document, {resultTypes: ["violations"]}).then(
		r => JSON.stringify(r.violations.map(v => ({ID: v.id, Impact: v.impact, Help: v.help + " " + v.nodes[0].html}))))`)), &found))
	for _, v := range found {
		tb.t.Errorf("%d px, %s: %s (%s): %s", width, scheme, v.ID, v.Impact, v.Help)
	}
	if wide := eval[int](tb, "document.documentElement.scrollWidth"); int64(wide) > width {
		tb.t.Errorf("the page is %d wide, and the window %d", wide, width)
	}
	if *pictures != "" {
		png, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
		ok(tb.t, err)
		ok(tb.t, os.WriteFile(filepath.Join(*pictures, picture), png, 0o600))
	}
}

func TestMapInABrowser(t *testing.T) {
	t.Parallel()
	tb, region := open(t, "one")
	tb.marks("created")
	tb.look(1200, "light", "created.png")
	tb.do(chromedp.Click(chromedp.CSS("#reload")))
	tb.marks("hit")
	if n := eval[string](tb, `document.querySelector("#legend .created dd").textContent + document.querySelector("#legend .hit dd").textContent`); n != "1616" {
		t.Errorf("the legend counts %s", n)
	}
	ok(t, region.Invalidate(t.Context(), dogpile.Soft))
	tb.key("r")
	tb.marks("stale")
	tb.look(390, "dark", "stale.png")
	// A tile that is chosen fills the map; the keyboard does what the mouse does.
	tb.do(chromedp.Click(chromedp.CSS("#map button:nth-child(6)")))
	tb.at4x4("#4/4/4")
	tb.marks("created")
	tb.look(700, "light", "zoomed.png")
	eval[bool](tb, `(document.querySelector("#map button:nth-child(16)").focus(), true)`)
	tb.key("+")
	tb.at4x4("#6/28/28")
	tb.key("ArrowRight")
	tb.at4x4("#6/30/28")
	tb.key("ArrowUp")
	tb.at4x4("#6/30/26")
	tb.key("-")
	tb.at4x4("#4/6/5")
	eval[bool](tb, `(history.back(), true)`)
	tb.at4x4("#6/30/26")
	tb.until(`document.querySelector("#map button").ariaLabel.startsWith("Tile 6/30/26: ")`)
	tb.harmless()
}

// TestMapAgainAndAgain asks for all tiles each second while that is wanted.
func TestMapAgainAndAgain(t *testing.T) {
	t.Parallel()
	tb, _ := open(t, `"><script>document.title = "hacked"</script>`)
	tb.marks("created")
	if title := eval[string](tb, "document.title"); !strings.HasPrefix(title, `"><script>`) {
		t.Errorf("the title is %q", title)
	}
	tb.do(chromedp.Click(chromedp.CSS("#every")))
	tb.until(`Number(document.querySelector("#legend .hit dd").textContent) >= 32`)
	tb.harmless()
}

// TestMapWithoutTiles says so, and keeps what there is to be seen.
func TestMapWithoutTiles(t *testing.T) {
	t.Parallel()
	tb, region := open(t, "one")
	tb.marks("created")
	ok(t, region.Close(t.Context()))
	tb.key("r")
	tb.marks("failed")
	if shown := eval[int](tb, `document.querySelectorAll("#map img[src]").length`); shown != 16 {
		t.Errorf("%d tiles are seen", shown)
	}
	for _, hash := range []string{"#99/0/0", "#4/-1/0", "#a/b/c", "#4/999/999"} {
		eval[bool](tb, fmt.Sprintf("(location.hash = %q, true)", hash))
		tb.marks("failed")
	}
	tb.until(`document.getElementById("said").textContent === "Zoom 4, from 12, 12"`)
}
