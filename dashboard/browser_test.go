package dashboard_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var pictures = flag.String("pictures", "", "`directory` to put pictures of the pages into")

// patience is how long a test waits for what a page is to show.
const patience = time.Minute

// chromium is the browser of all tests. One that is missing makes them fail.
var chromium struct {
	sync.Once
	ctx   context.Context
	close func()
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.close != nil {
		chromium.close()
	}
	os.Exit(code)
}

func startBrowser() {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // a sandbox needs rights that tests seldom have
		chromedp.WSURLReadTimeout(patience))
	allocated, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocated)
	chromium.ctx, chromium.close = ctx, func() { cancel(); end() }
	chromium.err = chromedp.Do(ctx)
}

// tab is a page of the browser. What goes wrong in it fails the test: errors in the console,
// what the policy of the page forbids, and requests of anything but the server.
type tab struct {
	t   *testing.T
	ctx context.Context
	at  string // of the server

	mu       sync.Mutex
	faults   []string
	requests []string
}

// serve serves h until the test ends.
func serve(t *testing.T, h http.Handler) (at string) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// open opens a tab for a server.
func open(t *testing.T, h http.Handler) *tab {
	t.Helper()
	tb := &tab{t: t, at: serve(t, h)}
	chromium.Do(startBrowser)
	if chromium.err != nil {
		t.Fatal("a browser is needed (Debian: chromium): ", chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx)
	t.Cleanup(cancel)
	tb.ctx = ctx
	tb.do() // opens it
	if err := chromedp.Listen(ctx, tb.hear); err != nil {
		t.Fatal(err)
	}
	call(tb, network.Enable, network.EnableParams{})
	call(tb, log.Enable, cdp.Empty{})
	t.Cleanup(func() {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		for _, f := range tb.faults {
			t.Error("in the browser: ", f)
		}
	})
	return tb
}

func (tb *tab) hear(event any) {
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level != log.EntryLevelInfo && e.Entry.Level != log.EntryLevelVerbose {
			tb.fault("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		tb.fault("%s %s", e.ExceptionDetails.Text, e.ExceptionDetails.URL)
	case *runtime.EventConsoleAPICalled:
		tb.fault("console.%s", e.Type)
	case *page.EventJavascriptDialogOpening:
		tb.fault("a dialog: %s", e.Message)
		go chromedp.Call(tb.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
	case *network.EventRequestWillBeSent:
		if at := e.Request.URL; !strings.HasPrefix(at, tb.at+"/") && !strings.HasPrefix(at, "about:") {
			tb.fault("a request of %s", at)
		}
		tb.mu.Lock()
		tb.requests = append(tb.requests, e.Request.URL)
		tb.mu.Unlock()
	}
}

func (tb *tab) fault(format string, args ...any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.faults = append(tb.faults, fmt.Sprintf(format, args...))
}

// forgive takes back the faults whose text contains what is expected, and waits for one: the
// browser tells of them when it likes.
func (tb *tab) forgive(what string) {
	tb.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		tb.mu.Lock()
		all := len(tb.faults)
		tb.faults = slices.DeleteFunc(tb.faults, func(f string) bool { return strings.Contains(f, what) })
		others := slices.Clone(tb.faults)
		tb.mu.Unlock()
		if len(others) < all {
			return
		}
		if time.Now().After(end) {
			tb.t.Fatalf("nothing was said of %q: %q", what, others)
		}
	}
}

func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if len(steps) == 0 {
		ctx = tb.ctx // the first time may have no limit
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

// call makes a call of the browser's protocol.
func call[P, R any](tb *tab, command cdp.Command[P, R], params P) {
	tb.t.Helper()
	if _, err := chromedp.Call(tb.ctx, command, params); err != nil {
		tb.t.Fatal(err)
	}
}

// visit goes to a page of the server.
func (tb *tab) visit(path string) {
	tb.t.Helper()
	tb.do(chromedp.Navigate(tb.at + path))
}

// eval evaluates an expression in the page.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatal(err)
	}
	return v
}

// waitFor waits until an expression is true in the page.
func (tb *tab) waitFor(expression string) {
	tb.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		// While the page goes to another one there is nothing to evaluate it in.
		is, err := chromedp.Run(tb.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && is {
			return
		}
		if time.Now().After(end) {
			tb.t.Fatalf("in vain for %s: %v; the page says:\n%s", expression, err, tb.text("body"))
		}
	}
}

// click clicks on the first element that a selector finds.
func (tb *tab) click(selector string) {
	tb.t.Helper()
	tb.do(chromedp.Click(chromedp.CSS(selector)))
}

// text returns the text of an element.
func (tb *tab) text(selector string) string {
	tb.t.Helper()
	return eval[string](tb, "document.querySelector("+quoted(selector)+").innerText")
}

// quoted returns a string as JavaScript has it.
func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// look makes the browser one with that width and colour scheme.
func (tb *tab) look(width int64, scheme string) {
	tb.t.Helper()
	tb.do(chromedp.EmulateViewport(width, 900))
	call(tb, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// picture puts a picture of the page into a file, if pictures are asked for.
func (tb *tab) picture(name string) {
	tb.t.Helper()
	if *pictures == "" {
		return
	}
	png, err := chromedp.Run(tb.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(*pictures, name), png, 0o644)
	}
	if err != nil {
		tb.t.Error(err)
	}
}

//go:embed testdata/axe.min.js
var axe string

// accessible checks the page as axe does, and that nothing in it is wider than what it is in.
func (tb *tab) accessible(what string) {
	tb.t.Helper()
	found := eval[[]struct {
		ID     string `json:"id"`
		Impact string `json:"impact"`
		Help   string `json:"help"`
		Nodes  []struct {
			HTML           string `json:"html"`
			FailureSummary string `json:"failureSummary"`
		} `json:"nodes"`
	}](tb, axe+`; axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations)`)
	for _, v := range found {
		if v.Impact == "serious" || v.Impact == "critical" {
			tb.t.Errorf("%s: %s (%s): %s", what, v.ID, v.Impact, v.Help)
			for _, n := range v.Nodes {
				tb.t.Logf("  %s\n  %s", n.HTML, n.FailureSummary)
			}
		} else {
			tb.t.Logf("%s: %s (%s): %s %s", what, v.ID, v.Impact, v.Help, v.Nodes[0].HTML)
		}
	}
	if wide := eval[[2]int](tb, "[document.documentElement.scrollWidth, innerWidth]"); wide[0] > wide[1] {
		tb.t.Errorf("%s: the page is %d wide, and the window %d", what, wide[0], wide[1])
	}
	if out := eval[int](tb, `[...document.querySelectorAll("table, pre, dl")].filter((e) => e.getBoundingClientRect().right > e.parentElement.getBoundingClientRect().right + 1).length`); out > 0 {
		tb.t.Errorf("%s: %d tables or lists stick out of what is around them", what, out)
	}
}

// query returns the address of a page.
func query(page string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return "/" + page + "?" + q.Encode()
}
