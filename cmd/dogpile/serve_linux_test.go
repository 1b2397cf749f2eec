package main_test

import (
	"bytes"
	"fmt"
	"image/png"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// serving is a "dogpile serve" that runs.
type serving struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string // ends with a slash
	stderr *bytes.Buffer
}

var address = regexp.MustCompile(`serves (http://[^ ]+/) through `)

func serve(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, cmd: in(t, t.TempDir(), append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...), stderr: new(bytes.Buffer)}
	out, err := s.cmd.StdoutPipe()
	ok(t, err)
	s.cmd.Stderr = s.stderr
	ok(t, s.cmd.Start())
	said := make([]byte, 4096)
	n, _ := out.Read(said)
	found := address.FindSubmatch(said[:n])
	if found == nil {
		s.cmd.Wait()
		t.Fatalf("it says %q and %q", said[:n], s.stderr)
	}
	s.url = string(found[1])
	go io.Copy(io.Discard, out)
	return s
}

// ends sends a signal, upon which the process has to end as one that has done its work.
func (s *serving) ends(signal syscall.Signal) {
	s.t.Helper()
	ok(s.t, s.cmd.Process.Signal(signal))
	s.cmd.Wait()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("exit %d: %s", code, s.stderr)
	}
}

func (s *serving) get(path string) (*http.Response, []byte) {
	s.t.Helper()
	res, body, err := s.ask(path)
	ok(s.t, err)
	return res, body
}

func (s *serving) ask(path string) (*http.Response, []byte, error) {
	res, err := http.Get(s.url + path)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

// tile asks for a tile, and returns where that comes from.
func (s *serving) tile(path string) (from string) {
	s.t.Helper()
	from, err := s.tileFrom(path)
	ok(s.t, err)
	return from
}

// tileFrom is tile for a goroutine, which may not end the test.
func (s *serving) tileFrom(path string) (from string, err error) {
	res, body, err := s.ask("tile/" + path)
	if err != nil {
		return "", err
	}
	timing := res.Header.Get("Server-Timing")
	from, _, quoted := strings.Cut(strings.TrimPrefix(timing, `cache;desc="`), `";dur=`)
	img, err := png.Decode(bytes.NewReader(body))
	if res.StatusCode != http.StatusOK || !quoted || err != nil || img.Bounds().Dx() != 128 || res.Header.Get("Age") == "" {
		return "", fmt.Errorf("%s: %s, Server-Timing %q, Age %q, %v", path, res.Status, timing, res.Header.Get("Age"), err)
	}
	return from, nil
}

// counted is a metric of the process, summed over all labels but these.
func (s *serving) counted(name string, labels ...string) (sum float64) {
	s.t.Helper()
	_, body := s.get("metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	ok(s.t, err)
	for _, m := range families[name].GetMetric() {
		text := m.String()
		has := true
		for _, l := range labels {
			has = has && strings.Contains(text, fmt.Sprintf("value:%q", l))
		}
		if has {
			sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func TestServe(t *testing.T) {
	t.Parallel()
	s := serve(t, "--delay", "1ms", "--expiration", "2s", "--name", "<script>\x1b")
	if from := s.tile("4/3/2"); from != "created" {
		t.Errorf("the first one is %q", from)
	}
	if from := s.tile("4/3/2"); from != "hit" && from != "stale" {
		t.Errorf("the second one is %q", from)
	}
	eventually(t, "a stale one", func() bool { return s.tile("4/3/2") == "stale" })
	eventually(t, "a hit", func() bool { return s.tile("4/3/2") == "hit" })
	for _, path := range []string{"tile/4/16/0", "tile/4/0/16", "tile/33/0/0", "tile/-1/0/0", "tile/04/0/0", "tile/4/+1/0", "tile/a/b/c", "tile/4/3", "nosuch"} {
		if res, _ := s.get(path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	page, body := s.get("")
	for _, header := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} {
		if got := page.Header.Get("Content-Security-Policy"); !strings.Contains(got, header) || strings.Contains(got, "unsafe") {
			t.Errorf("policy %q", got)
		}
	}
	if text := string(body); strings.Contains(text, "<script>\x1b") || !strings.Contains(text, "&lt;script&gt;") || strings.Contains(text, "http") {
		t.Errorf("the page is %s", text)
	}
	if res, body := s.get("dashboard/"); res.StatusCode != http.StatusOK || !strings.Contains(string(body), "tiles") {
		t.Errorf("the dashboard: %s", res.Status)
	}
	if hits := s.counted("dogpile_requests_total", "tiles", "tile", "hit"); hits < 1 {
		t.Errorf("%v hits were counted", hits)
	}
	s.ends(syscall.SIGTERM)
	if s.stderr.String() != "" {
		t.Errorf("stderr %q", s.stderr)
	}
}

// TestServeInThreeProcesses over one server: a tile that all of them are asked for at once is drawn
// once, and who has not drawn it has waited.
func TestServeInThreeProcesses(t *testing.T) {
	t.Parallel()
	url := startRedis(t).url
	var all []*serving
	for i := range 3 {
		all = append(all, serve(t, "--backend", url, "--name", fmt.Sprint("p", i), "--delay", "2s", "--expiration", "1h"))
	}
	var mu sync.Mutex
	from := make(map[string]int)
	var asking sync.WaitGroup
	for i := range 12 {
		asking.Go(func() {
			f, err := all[i%3].tileFrom("5/6/7")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			from[f]++
		})
	}
	asking.Wait()
	if from["created"] != 1 || from["waited"] == 0 || from["stale"] != 0 {
		t.Errorf("tiles were %v", from)
	}
	var created float64
	for _, s := range all {
		created += s.counted("dogpile_creation_duration_seconds", "tiles", "ok")
		if f := s.tile("5/6/7"); f != "hit" {
			t.Errorf("afterwards it is %q", f)
		}
	}
	if created != 1 {
		t.Errorf("it was drawn %v times", created)
	}
	ok(t, all[0].cmd.Process.Kill())
	all[1].ends(syscall.SIGTERM)
	if f := all[2].tile("5/6/7"); f != "hit" {
		t.Errorf("with one killed and one ended it is %q", f)
	}
	all[2].ends(syscall.SIGINT)
	if text := all[1].stderr.String() + all[2].stderr.String(); strings.Contains(text, "hunter2") {
		t.Errorf("the password shows: %s", text)
	}
}

// TestServeWhoseServerGoesAndComes draws what it cannot keep meanwhile, and top tells of it.
func TestServeWhoseServerGoesAndComes(t *testing.T) {
	t.Parallel()
	server, url := backendtest.StartRedis(t)
	s := serve(t, "--backend", url+"?timeout=1s", "--delay", "1ms", "--expiration", "1h")
	s.tile("2/1/1")
	eventually(t, "a hit", func() bool { return s.tile("2/1/1") == "hit" })
	_, next := lines(t, "top", "--interval", "200ms", "--metrics", s.url, "--backend", url, "--timeout", "2s")
	until := func(what string) {
		t.Helper()
		for range 5000 {
			if strings.Contains(next(), what) {
				return
			}
			s.tile("2/1/1")
		}
		t.Fatalf("top never says %q", what)
	}
	until("tiles")
	server.Kill()
	until("errors in a second that no caller gets")
	until("has not answered for")
	if from := s.tile("2/1/1"); from != "created" {
		t.Errorf("without a server it is %q", from)
	}
	server.Start(t)
	eventually(t, "a hit", func() bool { return s.tile("2/1/1") == "hit" })
	until(" 100% ")
	s.ends(syscall.SIGTERM)
}

// TestServeEndsAfterItsRequests: who waits for a tile gets it.
func TestServeEndsAfterItsRequests(t *testing.T) {
	t.Parallel()
	s := serve(t, "--delay", "1s")
	done := make(chan string)
	go func() {
		from, err := s.tileFrom("3/1/1")
		if err != nil {
			t.Error(err)
		}
		done <- from
	}()
	eventually(t, "a tile that is drawn", func() bool {
		_, body := s.get("metrics")
		return strings.Contains(string(body), `dogpile_creators{region="tiles"} 1`)
	})
	ok(t, s.cmd.Process.Signal(syscall.SIGTERM))
	if from := <-done; from != "created" {
		t.Errorf("it is %q", from)
	}
	s.cmd.Wait()
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit %d: %s", code, s.stderr)
	}
}

// TestServeMayNotChangeAnything by its dashboard, unless it is told so.
func TestServeMayNotChangeAnything(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args []string
		want int
	}{{nil, http.StatusMethodNotAllowed}, {[]string{"--actions"}, http.StatusForbidden}} { // without the token of a form
		s := serve(t, row.args...)
		res, err := http.Post(s.url+"dashboard/region?region=tiles", "application/x-www-form-urlencoded", strings.NewReader("do=hard"))
		ok(t, err)
		res.Body.Close()
		if res.StatusCode != row.want {
			t.Errorf("%v: %s, want %d", row.args, res.Status, row.want)
		}
		s.ends(syscall.SIGTERM)
	}
}

func TestBadFlagsOfServe(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { taken.Close() })
	for _, row := range []struct {
		name, want string
		code       int
		args       []string
	}{
		{"an address that is taken", "--addr: ", 1, []string{"--addr", taken.Addr().String()}},
		{"no address", "--addr: ", 1, []string{"--addr", "hunter"}},
		{"an unknown backend", `unknown backend "nosuch"`, 2, []string{"--backend", "nosuch://u:hunter2@h"}},
		{"no expiration", "--expiration is 0s", 2, []string{"--expiration", "0"}},
		{"a negative delay", "--delay is -1s", 2, []string{"--delay", "-1s"}},
		{"an argument", "takes no arguments", 2, []string{"x"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			oneLine(t, tool(t, append([]string{"serve"}, row.args...)...), row.code, row.want)
		})
	}
}
