package httpcache_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/dogpiletest"
	"github.com/dogpile-go/dogpile/internal/backendtest"
	"github.com/dogpile-go/dogpile/plugin/httpcache"
)

// suiteVersion is that of the npm package http-cache-tests, the public tests for HTTP caches
// whose results for others are at https://cache-tests.fyi.
const suiteVersion = "0.4.5"

// notPassed are the tests that the middleware does not pass before a httputil.ReverseProxy, and
// why. Of others nothing but a failure of the machine may keep it.
var notPassed = map[string]string{
	// Required.
	"age-parse-prefix":             "Age: 0,7200 is no number, and what has such an Age is not served again",
	"stale-close-must-revalidate":  "the origin cuts the connection: no cache can pass on a response of it, which is what the test looks for",
	"stale-close-proxy-revalidate": "the same",
	"stale-close-no-cache":         "the same",
	"stale-close-s-maxage=2":       "the same",
	"headers-store-Transfer-Encoding": "net/http refuses a response with a Transfer-Encoding that it does not know, " +
		"as it could be used to smuggle another one in",

	// Optimal.
	"method-POST":                                   "responses to POST are not stored",
	"vary-normalise-combine":                        "a handler can tell such requests apart, so they share nothing",
	"vary-normalise-lang-order":                     "the same",
	"vary-normalise-lang-case":                      "the same",
	"vary-normalise-lang-space":                     "the same",
	"vary-normalise-lang-select":                    "the same",
	"vary-normalise-space":                          "the same",
	"conditional-lm-fresh-no-lm":                    "without a Last-Modified nothing is known of when the response was modified",
	"partial-store-partial-reuse-partial":           "only whole responses are stored",
	"partial-store-partial-reuse-partial-byterange": "the same",
	"partial-store-partial-reuse-partial-absent":    "the same",
	"partial-store-partial-reuse-partial-suffix":    "the same",
	"partial-store-partial-complete":                "the same",
}

// TestHTTPCacheTests runs the public suite: its origin, the middleware before a reverse proxy,
// and its client.
func TestHTTPCacheTests(t *testing.T) {
	dir := installSuite(t)
	kinds := make(map[string]string)
	mustDecode(t, node(t, dir, nil, absolute(t, "testdata/kinds.mjs")), &kinds)

	// The tests wait for seconds, and allow the rest of them no more than two. On a machine
	// that stands still for so long a test fails without reason, and is tried again.
	passed := make(map[string]bool)
	failures := make(map[string]string)
	for range 3 {
		failures = runSuite(t, dir, passed)
		unexpected := false
		for id, kind := range kinds {
			unexpected = unexpected || kind != "check" && !passed[id] && notPassed[id] == ""
		}
		if !unexpected {
			break
		}
	}
	counts := make(map[string]int)
	for id, kind := range kinds {
		counts[kind]++
		if passed[id] {
			counts[kind+" passed"]++
		}
		switch why := notPassed[id]; {
		case kind == "check": // it tells what a cache does, not what it should
		case passed[id] && why != "":
			t.Errorf("%s is passed, and notPassed says that it is not: %s", id, why)
		case !passed[id] && why == "":
			t.Errorf("%s test %s: %s", kind, id, failures[id])
		}
	}
	for id := range notPassed {
		if kinds[id] == "" {
			t.Errorf("the suite has no test %s", id)
		}
	}
	t.Logf("required %d of %d, optimal %d of %d, others %d of %d",
		counts["required passed"], counts["required"], counts["optimal passed"], counts["optimal"], counts["check passed"], counts["check"])
	if counts["required"] != 157 || counts["optimal"] != 86 || counts["required passed"] < 145 || counts["optimal passed"] < 62 {
		t.Errorf("%v", counts)
	}
}

// installSuite returns the directory of the suite, which is downloaded once for a user.
func installSuite(t *testing.T) string {
	t.Helper()
	backendtest.Need(t, "node")
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	const pkg = "http-cache-tests"
	dir := filepath.Join(cache, "dogpile", pkg+"@"+suiteVersion)
	in := filepath.Join(dir, "node_modules", pkg)
	if _, err := os.Stat(filepath.Join(in, "cli.mjs")); err == nil {
		return in
	}
	backendtest.OK(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "install")
	backendtest.OK(t, err)
	defer os.RemoveAll(fresh)
	npm := exec.Command(backendtest.Need(t, "npm"), "install", "--prefix", fresh, "--ignore-scripts", "--no-audit", "--no-fund", pkg+"@"+suiteVersion)
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", npm.Args, err, out)
	}
	_ = os.RemoveAll(dir)
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(filepath.Join(in, "cli.mjs")); there != nil { // not by another process either
			t.Fatal(err)
		}
	}
	return in
}

// runSuite runs all tests once, notes which have passed, and returns why others have not.
func runSuite(t *testing.T, dir string, passed map[string]bool) map[string]string {
	t.Helper()
	port := backendtest.FreePort(t)
	own := t.TempDir()
	origin := &backendtest.Process{
		Command: func() []string { return []string{"node", filepath.Join(dir, "server", "server.mjs")} },
		Env:     []string{"npm_config_protocol=http", "npm_config_port=" + port, "npm_config_pidfile=" + filepath.Join(own, "pid")},
		Ready: func() bool {
			c, err := net.Dial("tcp", "localhost:"+port)
			if err == nil {
				c.Close()
			}
			return err == nil
		},
	}
	origin.Start(t)
	defer origin.Kill()

	to, err := url.Parse("http://localhost:" + port)
	backendtest.OK(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	region := dogpiletest.Region(t, &dogpile.Options{Expiration: time.Hour})
	server := httptest.NewServer(httpcache.Middleware(region, nil)(proxy))
	defer server.Close()

	results := make(map[string]any)
	mustDecode(t, node(t, dir, []string{"npm_config_base=" + server.URL, "npm_config_id=", "npm_package_config_id="}, "cli.mjs"), &results)
	failures := make(map[string]string)
	for id, result := range results {
		if result == true {
			passed[id] = true
		} else {
			failures[id] = fmt.Sprint(result)
		}
	}
	return failures
}

// node runs a script in a directory, and returns what it prints.
func node(t *testing.T, dir string, env []string, script string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), backendtest.Need(t, "node"), "--no-warnings", script)
	cmd.Dir = dir
	cmd.Env = slices.Concat(os.Environ(), env)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, &stderr)
	}
	return out
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	backendtest.OK(t, err)
	return abs
}

func mustDecode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%v in %.500s", err, data)
	}
}
