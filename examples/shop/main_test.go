//go:build unix

package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile"
	_ "github.com/dogpile-go/dogpile/backend/memory"
	_ "github.com/dogpile-go/dogpile/backend/redis"
	"github.com/dogpile-go/dogpile/config"
	main "github.com/dogpile-go/dogpile/examples/shop"
	"github.com/dogpile-go/dogpile/examples/shop/catalog"
	"github.com/dogpile-go/dogpile/examples/shop/web"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// asShop tells this test binary to be the shop.
const asShop = "SHOP_TEST_IS_THE_SHOP"

func TestMain(m *testing.M) {
	if os.Getenv(asShop) != "" {
		main.Main()
		return
	}
	os.Setenv(asShop, "1") // for all processes that are started from here
	os.Exit(m.Run())
}

// command returns a command that is the shop with these arguments. What it says goes to the log
// of the test.
func command(t *testing.T, redis string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Stderr = t.Output()
	if redis != "" {
		cmd.Args = append(cmd.Args, "--config", "redis.toml")
		cmd.Env = append(os.Environ(), "SHOP_CACHE__BACKENDS__MAIN="+redis+"?timeout=20s&connect_timeout=20s", // on a machine that may be very busy
			"SHOP_CACHE__PRODUCTS__BACKEND_TIMEOUT=20s", "SHOP_CACHE__PAGES__BACKEND_TIMEOUT=20s")
	}
	return cmd
}

// shop is a process of the shop.
type shop struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	inside string // URL of the dashboard and the metrics
	ended  sync.Once
}

// open starts a shop. It has to end in order at the end of the test.
func open(t *testing.T, redis, db string) *shop {
	t.Helper()
	s := &shop{t: t, cmd: command(t, redis, "--listen", "127.0.0.1:0", "--inside", "127.0.0.1:0", "--db", db)}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(os.Interrupt) }
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	lines := bufio.NewReader(stdout)
	s.url, s.inside = says(t, lines, "The shop is open on "), says(t, lines, "What goes on inside is on ")
	return s
}

// says returns what the next line tells after its start.
func says(t *testing.T, lines *bufio.Reader, start string) string {
	t.Helper()
	line, err := lines.ReadString('\n')
	rest, found := strings.CutPrefix(line, start)
	if !found {
		t.Fatalf("the shop says %q, %v", line, err)
	}
	return strings.TrimSpace(rest)
}

// end waits for the end of the shop, which the end of the test's context has asked for.
func (s *shop) end() {
	s.ended.Do(func() {
		if err := s.cmd.Wait(); err != nil && !strings.Contains(err.Error(), context.Canceled.Error()) {
			s.t.Errorf("a shop ended with %v", err)
		}
	})
}

// TestInside: the dashboard and the metrics tell of the pages that customers have seen, and
// customers reach neither.
func TestInside(t *testing.T) {
	s := open(t, "", filepath.Join(t.TempDir(), "shop.db"))
	for range 3 {
		if status, _ := s.do("GET", "/product/42", ""); status != http.StatusOK {
			t.Fatalf("the page of a product: %d", status)
		}
	}
	inside := &shop{t: t, url: s.inside}
	for path, want := range map[string]string{
		"/metrics":             `dogpile_requests_total{name="http",region="pages",result="hit"} 2`,
		"/":                    "products",
		"/region?region=pages": "pages",
	} {
		if status, answer := inside.do("GET", path, ""); status != http.StatusOK || !strings.Contains(answer, want) {
			t.Errorf("%s: %d, without %s:\n%.3000s", path, status, want, answer)
		}
		if _, answer := s.do("GET", path, ""); path != "/" && strings.Contains(answer, want) {
			t.Errorf("a customer is shown %s", path)
		}
	}
}

// TestASecondShopHasAddressesOfItsOwn: those that the README tells are not those of the first.
func TestASecondShopHasAddressesOfItsOwn(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile("`--listen ([0-9.:]+) --inside ([0-9.:]+)`").FindSubmatch(readme)
	if told == nil {
		t.Fatal("the README tells of no second shop")
	}
	help, err := exec.CommandContext(t.Context(), os.Args[0], "-h").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{string(told[1]): true, string(told[2]): true}
	for _, address := range regexp.MustCompile(`default "(127[0-9.:]+)"`).FindAllSubmatch(help, -1) {
		all[string(address[1])] = true
	}
	if len(all) != 4 {
		t.Errorf("two shops are to listen on %v", all)
	}
}

// do sends a request and returns what is answered.
func (s *shop) do(method, path, body string) (status int, answer string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Error(err)
	}
	return response.StatusCode, string(text)
}

// want checks the status of a request, and that a text is in the answer.
func (s *shop) want(status int, text, method, path, body string) {
	s.t.Helper()
	if got, answer := s.do(method, path, body); got != status || !strings.Contains(answer, text) {
		s.t.Errorf("%s %s: %d, want %d and %q in\n%s", method, path, got, status, text, answer)
	}
}

// queries returns how many queries shops have sent to the database.
func queries(shops ...*shop) (sum int64) {
	for _, s := range shops {
		var stats web.Stats
		if _, answer := s.do("GET", "/stats", ""); json.Unmarshal([]byte(answer), &stats) != nil {
			s.t.Fatalf("the stats are %q", answer)
		}
		sum += stats.Queries
	}
	return sum
}

// two returns two processes of one shop.
func two(t *testing.T) (a, b *shop) {
	t.Helper()
	redis, db := backendtest.Redis(t), filepath.Join(t.TempDir(), "shop.db")
	return open(t, redis, db), open(t, redis, db)
}

func TestAChangeInOneProcessIsSeenInTheOther(t *testing.T) {
	t.Parallel()
	a, b := two(t)
	for path, text := range map[string]string{
		"/product/1":      "<b>5.10 €</b>",
		"/category/cocoa": "Brazil cocoa</a>, 5.10",
		"/api/products/1": `"cents":510`,
		"/product/34":     "Brazil cocoa</a>, 5.10", // is often bought with it
	} {
		b.want(200, text, "GET", path, "")
	}
	a.want(200, "", "PUT", "/api/products/1", `{"name": "Bahia cocoa", "category": "cocoa", "cents": 1234}`)
	for path, text := range map[string]string{
		"/product/1":      "<b>12.34 €</b>",
		"/category/cocoa": "Bahia cocoa</a>, 12.34",
		"/api/products/1": `"cents":1234`,
		"/product/34":     "Bahia cocoa</a>, 12.34",
	} {
		b.want(200, text, "GET", path, "")
	}
	b.want(204, "", "DELETE", "/api/products/1", "")
	a.want(404, "", "GET", "/product/1", "")
}

func TestAStampedeOnTwoProcessesIsNoMoreQueries(t *testing.T) {
	t.Parallel()
	a, b := two(t)
	before := queries(a, b)
	var all sync.WaitGroup
	for range 50 {
		for _, s := range []*shop{a, b} {
			all.Go(func() { s.want(200, "Ceylon coffee", "GET", "/product/6", "") })
		}
	}
	all.Wait()
	// The product, the menu, the numbers of those bought with it, and their names and prices.
	// These last are several keys. When both processes try for their locks at the same moment
	// each may get some, and then it takes one query more.
	if n := queries(a, b) - before; n != 4 && n != 5 {
		t.Errorf("%d queries, want 4, or 5", n)
	}
}

func TestNotFoundIsKeptForBothProcesses(t *testing.T) {
	t.Parallel()
	a, b := two(t)
	before := queries(a, b)
	for range 10 {
		a.want(404, "", "GET", "/api/products/999", "")
		b.want(404, "", "GET", "/product/999", "")
	}
	if n := queries(a, b) - before; n != 1 {
		t.Errorf("%d queries, want 1", n)
	}
	b.want(200, "", "PUT", "/api/products/999", `{"name": "Assam tea", "category": "tea", "cents": 610}`)
	a.want(200, "Assam tea", "GET", "/product/999", "")
}

func TestLoad(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		redis bool
		args  []string
	}{
		"one process, memory":  {args: []string{"--processes", "1"}},
		"two processes, Redis": {redis: true, args: []string{"--processes", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := ""
			if row.redis {
				redis = backendtest.Redis(t)
			}
			cmd := command(t, redis, append([]string{"load", "--duration", "1s", "--clients", "20", "--change-every", "100ms"}, row.args...)...)
			table, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, table)
			}
			without, with := columns(t, string(table))
			for _, column := range []map[string]int{without, with} {
				if column["requests"] == 0 || column["price changes"] == 0 || column["failed"] != 0 || column["old prices shown"] != 0 {
					t.Errorf("the numbers are not sane:\n%s", table)
				}
			}
			// Queries for each request.
			if with["database queries"]*without["requests"] >= without["database queries"]*with["requests"] {
				t.Errorf("the cache spares no queries:\n%s", table)
			}
		})
	}
}

// columns reads the whole numbers of a table.
func columns(t *testing.T, table string) (without, with map[string]int) {
	t.Helper()
	without, with = map[string]int{}, map[string]int{}
	for _, row := range regexp.MustCompile(`(?m)^ *(\S.*?)  +(\d+)  +(\d+)$`).FindAllStringSubmatch(table, -1) {
		without[row[1]], _ = strconv.Atoi(row[2])
		with[row[1]], _ = strconv.Atoi(row[3])
	}
	if len(with) != 5 {
		t.Fatalf("the table is\n%s", table)
	}
	return without, with
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"shop.toml", "redis.toml"} {
		settings, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		setup := dogpile.Setup{Settings: settings, Prefix: "cache."}
		if err := setup.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if warnings := setup.Warnings(); len(warnings) > 0 {
			t.Errorf("%s: %q", file, warnings)
		}
		for _, r := range []*dogpile.Region{catalog.Region, web.Region} {
			if settings[fmt.Sprintf("cache.%s.backend", r.Name())] != "@main" {
				t.Errorf("%s: region %q is not over the backend of all regions", file, r.Name())
			}
		}
	}
}

// A shop ends in order though somebody has connected and asks for nothing, as browsers do.
func TestAShopEndsThoughAConnectionIsSpare(t *testing.T) {
	t.Parallel()
	s := open(t, "", filepath.Join(t.TempDir(), "shop.db")) // which checks how it ends
	connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	s.want(200, "", "GET", "/", "")
	// Cleanups run last first: the shop's has to run while the connection is there.
	t.Cleanup(s.end)
}

// Interrupted, the load says so, and leaves nothing behind.
func TestLoadIsInterrupted(t *testing.T) {
	t.Parallel()
	cmd, dir := command(t, "", "load", "--duration", "1m", "--clients", "2"), t.TempDir()
	var said strings.Builder
	cmd.Stderr, cmd.Env = &said, append(os.Environ(), "TMPDIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	left := func() []string {
		files, err := filepath.Glob(filepath.Join(dir, "shop*", "*"))
		if err != nil {
			t.Error(err)
		}
		return files
	}
	for len(left()) == 0 && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || !strings.HasSuffix(said.String(), "shop: load: interrupted\n") {
		t.Errorf("it ended with %v and said %q", err, &said)
	}
	if files := left(); len(files) > 0 {
		t.Errorf("it has left %q", files)
	}
}

func TestFaultsAreTold(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"no such file":   {[]string{"--config", "none.toml"}, `shop: dogpile: config "none.toml"`},
		"no such folder": {[]string{"--db", "none/shop.db"}, `shop: database "none/shop.db"`},
		"no such word":   {[]string{"lod"}, `shop: what is "lod"?`},
		"one too many":   {[]string{"load", "more"}, `shop: what is "more"?`},
		"no process":     {[]string{"load", "--processes", "0"}, "shop: load: all numbers"},
		"no customers":   {[]string{"load", "--clients", "-1"}, "shop: load: all numbers"},
		"no time":        {[]string{"load", "--duration", "0s"}, "shop: load: all numbers"},
		"no changes":     {[]string{"load", "--change-every", "0s"}, "shop: load: all numbers"},
		"no database":    {[]string{"--db", ""}, "shop: database \"\": it has to be a file"},
		"no file either": {[]string{"--db", ":memory:"}, "shop: database \":memory:\": it has to be a file"},
		"no address":     {[]string{"--db", filepath.Join(t.TempDir(), "shop.db"), "--listen", "nowhere"}, "shop: listen tcp"},
	} {
		cmd := command(t, "", row.args...)
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		deadline := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // else a shop that opens stays open
		err := cmd.Wait()
		deadline.Stop()
		if err == nil || !strings.HasPrefix(said.String(), row.want) {
			t.Errorf("%s: %v, %q; want %q", name, err, &said, row.want)
		}
	}
}
