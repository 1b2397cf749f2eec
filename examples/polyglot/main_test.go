//go:build unix

package main_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	main "github.com/dogpile-go/dogpile/examples/polyglot"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// asService tells this test binary to be the service.
const asService = "POLYGLOT_TEST_IS_THE_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		main.Main()
		return
	}
	os.Exit(m.Run())
}

// service is one that runs in a process of its own.
type service struct {
	t        *testing.T
	language string
	url      string
}

// both starts the service in Go and in Python, with a cache and a database for both.
func both(t *testing.T) (inGo, inPython *service) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	redis, args := backendtest.Redis(t), []string{"--listen", "127.0.0.1:0", "--db", filepath.Join(t.TempDir(), "polyglot.db")}
	inGo = start(t, "Go", append([]string{self, "--redis", redis + "?timeout=20s&connect_timeout=20s"}, args...)) // on a machine that may be very busy
	inPython = start(t, "Python", append([]string{"/usr/bin/python3", "service.py", "--redis", redis}, args...))
	return inGo, inPython
}

// start starts a service, and kills it at the end of the test.
func start(t *testing.T, language string, command []string) *service {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), backendtest.Need(t, command[0]), command[1:]...)
	cmd.Stderr = t.Output()
	cmd.Env = append(os.Environ(), asService+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // it was killed when the test's context ended
	line, err := bufio.NewReader(stdout).ReadString('\n')
	url, found := strings.CutPrefix(line, language+" answers on ")
	if !found {
		t.Fatalf("the service in %s says %q, %v (is something missing? apt-get install python3-dogpile.cache python3-redis)", language, line, err)
	}
	return &service{t, language, strings.TrimSpace(url)}
}

func (s *service) do(method, path, body string) (status int, answer string) {
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
	return response.StatusCode, strings.TrimSpace(string(text))
}

// setPrice changes a price through s.
func (s *service) setPrice(product string, cents int) {
	s.t.Helper()
	if status, answer := s.do("PUT", "/price/"+product, strconv.Itoa(cents)); status != 200 {
		s.t.Errorf("%s: the price of %s: %d %s", s.language, product, status, answer)
	}
}

// want checks the quote for a product.
func (s *service) want(product string, cents int, madeBy ...string) {
	s.t.Helper()
	status, answer := s.do("GET", "/quote/"+product, "")
	var q main.Quote
	err := json.Unmarshal([]byte(answer), &q)
	if status != 200 || err != nil || q.Cents != cents || (len(madeBy) > 0 && q.MadeBy != madeBy[0]) {
		s.t.Errorf("%s: the quote for %s is %d %s, %v; want %d cents, made by %v", s.language, product, status, answer, err, cents, madeBy)
	}
}

// made returns how many quotes services have made.
func made(services ...*service) (sum int) {
	for _, s := range services {
		_, answer := s.do("GET", "/made", "")
		n, err := strconv.Atoi(answer)
		if err != nil {
			s.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func TestAStampedeOnBothIsOneCreation(t *testing.T) {
	t.Parallel()
	inGo, inPython := both(t)
	for i, product := range []string{"tea", "coffee", "green%20tea"} {
		inGo.setPrice(product, 100)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { inGo.want(product, 100) })
			all.Go(func() { inPython.want(product, 100) })
		}
		all.Wait()
		if n := made(inGo, inPython); n != i+1 {
			t.Errorf("%s: %d quotes were made by now, want %d", product, n, i+1)
		}
	}
}

func TestEachReadsWhatTheOtherHasMade(t *testing.T) {
	t.Parallel()
	inGo, inPython := both(t)
	inGo.setPrice("tea", 560)
	inGo.want("tea", 560, "Go")
	inPython.want("tea", 560, "Go")
	inPython.setPrice("coffee", 790)
	inPython.want("coffee", 790, "Python")
	inGo.want("coffee", 790, "Python")
	if n := made(inGo, inPython); n != 2 {
		t.Errorf("%d quotes were made, want 2", n)
	}
}

func TestAChangeThroughOneIsSeenByTheOther(t *testing.T) {
	t.Parallel()
	inGo, inPython := both(t)
	for cents := 100; cents < 104; cents += 2 {
		inGo.setPrice("tea", cents)
		inPython.want("tea", cents)
		inGo.want("tea", cents)
		inPython.setPrice("tea", cents+1)
		inGo.want("tea", cents+1)
		inPython.want("tea", cents+1)
	}
	if n := made(inGo, inPython); n != 4 {
		t.Errorf("%d quotes were made, want 4", n)
	}
}

// All that stands in a request for a price counts.
func TestPricesAreReadAlike(t *testing.T) {
	t.Parallel()
	inGo, inPython := both(t)
	for _, s := range []*service{inGo, inPython} {
		if status, answer := s.do("PUT", "/price/tea?by=hand", "007"); status != 200 || answer != "7" {
			t.Errorf("%s: %d %s", s.language, status, answer)
		}
		s.want("tea?for=me", 7)
	}
}

func TestFaultsAreTheSame(t *testing.T) {
	t.Parallel()
	inGo, inPython := both(t)
	for name, row := range map[string]struct {
		method, path, body string
		want               int
	}{
		"no such product": {"GET", "/quote/nothing", "", 404},
		"no such page":    {"GET", "/nowhere", "", 404},
		"no price":        {"PUT", "/price/tea", "much", 400},
		"a negative one":  {"PUT", "/price/tea", "-1", 400},
		"none at all":     {"PUT", "/price/tea", "", 400},
		"null":            {"PUT", "/price/tea", "null", 400},
		"a string":        {"PUT", "/price/tea", `"5"`, 400},
		"two prices":      {"PUT", "/price/tea", "5 6", 400},
		"one too high":    {"PUT", "/price/tea", "4294967296", 400},
	} {
		for _, s := range []*service{inGo, inPython} {
			if status, answer := s.do(row.method, row.path, row.body); status != row.want {
				t.Errorf("%s, %s: %d %s, want %d", name, s.language, status, answer, row.want)
			}
		}
	}
}
