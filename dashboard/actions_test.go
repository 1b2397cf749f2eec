package dashboard_test

import (
	"cmp"
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/dashboard"
)

// TestAnActionWorks in the browser: each of them.
func TestAnActionWorks(t *testing.T) {
	key := query("key", "region", "products", "key", "k")
	region := query("region", "region", "products")
	for name, row := range map[string]struct {
		at, clicks, done string
		state            string
	}{
		"delete":                 {key, "button[value=delete]", "deleted", "missing"},
		"renew":                  {key, "button[value=renew]", "created anew", "fresh"},
		"invalidate a tag hard":  {key, ".tags button[value=hard]", "tag", "invalidated"},
		"invalidate a tag soft":  {key, ".tags button[value=soft]", "tag", "stale"},
		"invalidate the region":  {region, "details.act:nth-of-type(1) summary|details.act:nth-of-type(1) button[value=hard]", "invalid now", "invalidated"},
		"… softly":               {region, "details.act:nth-of-type(1) summary|details.act:nth-of-type(1) button[value=soft]", "stale now", "stale"},
		"a tag from the region":  {region, "details.act:nth-of-type(2) summary|#tag=of k|details.act:nth-of-type(2) button[value=hard]", "tag", "invalidated"},
		"another tag than its":   {region, "details.act:nth-of-type(2) summary|#tag=other|details.act:nth-of-type(2) button[value=hard]", "tag", "fresh"},
		"look at a key (a form)": {region, "#look=k|.line button", "", "fresh"},
	} {
		t.Run(name, func(t *testing.T) {
			renewed := ""
			s := newScene(t, dashboard.Options{Actions: true, Renew: func(_ context.Context, r *dogpile.Region, key string) error {
				renewed = r.Name() + " " + key
				return nil
			}}, dogpile.Options{})
			s.get(t, "k")
			tb := open(t, s.board)
			tb.visit(row.at)
			for click := range strings.SplitSeq(row.clicks, "|") {
				if field, text, is := strings.Cut(click, "="); is && strings.HasPrefix(click, "#") {
					tb.waitFor("document.querySelector(" + quoted(field) + ").value = " + quoted(text))
					continue
				}
				tb.click("main " + click)
			}
			if row.done != "" {
				tb.waitFor(`document.querySelector(".done")?.innerText.includes(` + quoted(row.done) + `)`)
			}
			if name == "renew" && renewed != "products k" {
				t.Errorf("renewed %q", renewed)
			}
			tb.waitFor("!document.querySelector('main .line') || " + quoted(row.done) + " !== ''")
			tb.visit(key)
			tb.waitFor("document.querySelector(" + quoted("[aria-labelledby=h-entry] .state."+row.state) + ")")
		})
	}
}

// post sends a form.
func post(t *testing.T, h http.Handler, at string, form url.Values, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, at, strings.NewReader(form.Encode()))
	r.Host = cmp.Or(header.Get("Host"), "127.0.0.1:8080")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

var tokenOf = regexp.MustCompile(`name="token" value="([^"]+)"`)

// token returns the token of a dashboard, as it stands in its forms.
func token(t *testing.T, h http.Handler) string {
	t.Helper()
	found := tokenOf.FindStringSubmatch(body(t, h, query("region", "region", "products")))
	if found == nil {
		t.Fatal("there is no token in the page")
	}
	return html.UnescapeString(found[1])
}

// form returns a form that asks for something.
func form(token, action string) url.Values { return url.Values{"action": {action}, "token": {token}} }

// body returns the text of a page.
func body(t *testing.T, h http.Handler, at string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, at, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d", at, w.Code)
	}
	return w.Body.String()
}

// TestFormsOfOthersAreRefused: without the token, with another, and from another origin.
func TestFormsOfOthersAreRefused(t *testing.T) {
	ours := http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://127.0.0.1:8080"}}
	for name, row := range map[string]struct {
		change func(form url.Values)
		header http.Header
		want   int
	}{
		"ours":                     {nil, ours, http.StatusSeeOther},
		"of a program":             {nil, nil, http.StatusSeeOther},
		"without a token":          {func(f url.Values) { f.Del("token") }, ours, http.StatusForbidden},
		"with an empty token":      {func(f url.Values) { f.Set("token", "") }, ours, http.StatusForbidden},
		"with another token":       {func(f url.Values) { f.Set("token", "AAAAAAAAAAAAAAAAAAAAAAAAAA") }, ours, http.StatusForbidden},
		"of another site":          {nil, http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		"of a neighbour":           {nil, http.Header{"Sec-Fetch-Site": {"same-site"}}, http.StatusForbidden},
		"of another origin":        {nil, http.Header{"Origin": {"http://evil.example"}}, http.StatusForbidden},
		"of nowhere":               {nil, http.Header{"Origin": {"null"}}, http.StatusForbidden},
		"for what cannot be done":  {func(f url.Values) { f.Set("action", "flush") }, ours, http.StatusBadRequest},
		"for what was not offered": {func(f url.Values) { f.Set("action", "renew") }, ours, http.StatusBadRequest},
		"too long":                 {func(f url.Values) { f.Set("x", strings.Repeat("x", 1<<20)) }, ours, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, dashboard.Options{Actions: true}, dogpile.Options{})
			s.get(t, "k")
			form := form(token(t, s.board), "delete")
			if row.change != nil {
				row.change(form)
			}
			res := post(t, s.board, query("key", "region", "products", "key", "k"), form, row.header)
			if res.StatusCode != row.want {
				t.Errorf("the answer is %s", res.Status)
			}
			_, there, err := s.c.Get(bg, "k")
			if deleted := row.want == http.StatusSeeOther; there == deleted || err != nil {
				t.Errorf("the entry is there: %v, %v", there, err)
			}
		})
	}
}

// TestFormsUnderANameOfOthersAreRefused: a name of another site may be made to lead here (DNS
// rebinding), and the browser takes its pages for ours.
func TestFormsUnderANameOfOthersAreRefused(t *testing.T) {
	for host, want := range map[string]int{
		"127.0.0.1": http.StatusSeeOther, "10.1.2.3:8081": http.StatusSeeOther, "[::1]": http.StatusSeeOther, "[fe80::1]:8081": http.StatusSeeOther,
		"localhost": http.StatusSeeOther, "LOCALHOST:8081": http.StatusSeeOther, "shop.localhost:8081": http.StatusSeeOther,
		"cache.internal": http.StatusSeeOther, "Cache.Internal.:8081": http.StatusSeeOther,
		"evil.example": http.StatusForbidden, "evil.example:8081": http.StatusForbidden, "cache.internal.evil.example": http.StatusForbidden,
		"notlocalhost": http.StatusForbidden, "127.0.0.1.evil.example": http.StatusForbidden, ":8081": http.StatusForbidden,
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, dashboard.Options{Actions: true, Hosts: []string{"cache.internal"}}, dogpile.Options{})
			s.get(t, "k")
			header := http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"http://" + host}, "Host": {host}}
			res := post(t, s.board, query("key", "region", "products", "key", "k"), form(token(t, s.board), "delete"), header)
			if res.StatusCode != want {
				t.Errorf("the answer is %s", res.Status)
			}
			_, there, err := s.c.Get(bg, "k")
			if deleted := want == http.StatusSeeOther; there == deleted || err != nil {
				t.Errorf("the entry is there: %v, %v", there, err)
			}
		})
	}
}

// TestAPageOfAnotherOriginCannotSendAForm, even one that knows the token.
func TestAPageOfAnotherOriginCannotSendAForm(t *testing.T) {
	s := newScene(t, dashboard.Options{Actions: true}, dogpile.Options{})
	s.get(t, "k")
	target := serve(t, s.board) + query("key", "region", "products", "key", "k")
	secret := token(t, s.board)
	tb := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<link rel="icon" href="data:,"><form method="post" action="%s"><input name="token" value="%s"><button name="action" value="delete">Win!</button></form>`,
			html.EscapeString(target), secret)
	}))
	tb.visit("/")
	tb.click("button")
	tb.waitFor(`document.title.startsWith("Forbidden")`)
	if _, ok, err := s.c.Get(bg, "k"); !ok || err != nil {
		t.Errorf("the entry is gone: %v", err)
	}
	tb.forgive("403")
	tb.forgive("a request of") // the server that was aimed at
}

// TestNothingIsChangedByDefault: no form, and no POST.
func TestNothingIsChangedByDefault(t *testing.T) {
	s := newScene(t, dashboard.Options{Renew: func(context.Context, *dogpile.Region, string) error { panic("renewed") }}, dogpile.Options{})
	s.get(t, "k")
	key, region := query("key", "region", "products", "key", "k"), query("region", "region", "products")
	for _, at := range []string{"/", key, region} {
		if text := body(t, s.board, at); strings.Contains(text, `method="post"`) || strings.Contains(text, `name="token"`) {
			t.Errorf("%s has a form", at)
		}
		for _, action := range []string{"delete", "renew", "invalidate", "tag"} {
			res := post(t, s.board, at, url.Values{"action": {action}, "mode": {"hard"}, "tag": {"of k"}}, nil)
			if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s of %s: %s, Allow: %s", action, at, res.Status, res.Header.Get("Allow"))
			}
		}
	}
	if _, ok, err := s.c.Get(bg, "k"); !ok || err != nil {
		t.Errorf("the entry is gone: %v", err)
	}
}

// TestAnActionThatFailsSaysSo, and is not taken for done.
func TestAnActionThatFailsSaysSo(t *testing.T) {
	s := newScene(t, dashboard.Options{Actions: true, Renew: func(context.Context, *dogpile.Region, string) error {
		return fmt.Errorf("the origin is down since %s", "noon")
	}}, dogpile.Options{BackendTimeout: time.Second})
	res := post(t, s.board, query("key", "region", "products", "key", "k"), form(token(t, s.board), "renew"), nil)
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusBadGateway || !strings.Contains(string(text), "the origin is down since noon") {
		t.Errorf("%s: %s", res.Status, text)
	}
}
