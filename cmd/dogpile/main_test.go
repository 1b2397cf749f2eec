package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	command "github.com/dogpile-go/dogpile/cmd/dogpile"
)

// asCommand is the variable that makes this binary the command itself. Another one,
// built here, would have neither the race detector nor a part in what go test
// looks at to see whether a result is still good.
const asCommand = "DOGPILE_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		command.Main()
	}
	os.Exit(m.Run())
}

type ran struct {
	code           int
	stdout, stderr string
}

// in returns the command in dir, where its temporary files are too.
func in(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), asCommand+"=1", "TMPDIR="+dir, "TMP="+dir,
		"GORACE=atexit_sleep_ms=0") // a second at the end of every process, by default
	return cmd
}

// execute runs the command in dir.
func execute(t *testing.T, dir string, args ...string) ran {
	t.Helper()
	cmd := in(t, dir, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// small makes a run that ends soon.
var small = []string{"demo", "--requests=60", "--duration=300ms", "--keys=5", "--expiration=100ms", "--cost=1ms"}

func with(args []string, more ...string) []string { return append(slices.Clone(args), more...) }

func TestHelp(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, want string
		args       []string
	}{
		{"none", "dogpile demo", nil},
		{"help", "dogpile demo", []string{"--help"}},
		{"help about demo", "--log access.log --speed 60", []string{"help", "demo"}},
		{"demo help", "--log access.log --speed 60", []string{"demo", "--help"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := execute(t, t.TempDir(), row.args...)
			if got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, row.want) {
				t.Errorf("exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	want := ", " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	for _, arg := range []string{"--version", "version"} {
		got := execute(t, t.TempDir(), arg)
		if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "dogpile ") || !strings.HasSuffix(got.stdout, want) || strings.Count(got.stdout, "\n") != 1 {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", arg, got.code, got.stdout, got.stderr)
		}
	}
}

var badInput = []struct {
	name, want string
	args       []string
}{
	{"unknown command", `unknown command "demos"`, []string{"demos"}},
	{"help about an unknown command", `unknown command "demos"`, []string{"help", "demos"}},
	{"unknown flag", "--bogus", []string{"--bogus"}},
	{"unknown flag of demo", "--bogus", []string{"demo", "--bogus"}},
	{"argument of demo", `"access.log"`, []string{"demo", "access.log"}},
	{"argument of version", `"x"`, []string{"version", "x"}},
	{"clients no number", "--clients", []string{"demo", "--clients=many"}},
	{"no clients", "--clients is 0", []string{"demo", "--clients=0"}},
	{"no processes", "--processes is 0", []string{"demo", "--processes=0"}},
	{"negative processes", "--processes is -1", []string{"demo", "--processes=-1"}},
	{"too many processes", "--processes is 1001", []string{"demo", "--processes=1001", "--clients=2000"}},
	{"more processes than clients", "--processes is 3, more than the 2 of --clients", []string{"demo", "--processes=3", "--clients=2"}},
	{"processes that cannot share", "--processes is 2, but no two processes can share a backend of scheme memory",
		[]string{"demo", "--processes=2", "--backend=memory://"}},
	{"copies of a backend that cannot be shared", "--near: copies need a backend that processes share", []string{"demo", "--near", "--backend=memory://"}},
	{"process without a demo", "there is no task", []string{"demo-process"}},
	{"no requests", "--requests is 0", []string{"demo", "--requests=0"}},
	{"too many requests", "--requests is 2000000000", []string{"demo", "--requests=2000000000"}},
	{"negative keys", "--keys is -1", []string{"demo", "--keys=-1"}},
	{"no workers", "--workers is 0", []string{"demo", "--workers=0"}},
	{"duration without unit", "--duration", []string{"demo", "--duration=5"}},
	{"no duration", "--duration is 0s", []string{"demo", "--duration=0s"}},
	{"negative expiration", "--expiration is -1s", []string{"demo", "--expiration=-1s"}},
	{"negative stale-for", "--stale-for is -1s", []string{"demo", "--stale-for=-1s"}},
	{"cost too high", "--cost is 1h", []string{"demo", "--cost=1h"}},
	{"negative skew", "--skew is -1", []string{"demo", "--skew=-1"}},
	{"skew no number", "--skew is NaN", []string{"demo", "--skew=nan"}},
	{"negative seed", "--seed", []string{"demo", "--seed=-1"}},
	{"speed without log", "--speed", []string{"demo", "--speed=2"}},
	{"no speed", "--speed is 0", []string{"demo", "--log=bad.log", "--speed=0"}},
	{"infinite speed", "--speed is +Inf", []string{"demo", "--log=bad.log", "--speed=inf"}},
	{"keys with log", "--keys", []string{"demo", "--log=bad.log", "--keys=3"}},
	{"seed with log", "--seed", []string{"demo", "--log=bad.log", "--seed=3"}},
	{"empty name of log", "--log", []string{"demo", "--log="}},
	{"absent log", "absent.log", []string{"demo", "--log=absent.log"}},
	{"log is a directory", "--log", []string{"demo", "--log=."}},
	{"log without a good line", "bad.log has no line in Common or Combined Log Format (2 malformed)", []string{"demo", "--log=bad.log"}},
	{"empty log", "(0 malformed)", []string{"demo", "--log=empty.log"}},
	{"log of two years", "choose a greater --speed", []string{"demo", "--log=long.log"}},
	{"unknown backend", `unknown backend "nosuch"`, []string{"demo", "--backend=nosuch://user:hunter2@host"}},
	{"no scheme", "--backend", []string{"demo", "--backend=hunter2@host:1234"}},
	{"unknown arguments of backend", `argument "bogus" is unknown; argument "wrong" is unknown`,
		[]string{"demo", "--backend=memory://?wrong=hunter2&bogus=hunter2"}},
	{"empty backend", "--backend", []string{"demo", "--backend="}},
	{"no Redis server", "--backend: ", []string{"demo", "--backend=redis://user:hunter2@127.0.0.1:1/0"}},
	{"no memcached server", "--backend: ", []string{"demo", "--backend=memcached://127.0.0.1:1"}},
	{"report in no directory", "--report: cannot write absent/report.html: no such file or directory", []string{"demo", "--report=absent/report.html"}},
	{"report is a directory", "--report", []string{"demo", "--report=."}},
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"bad.log": "this is\nno log\n", "empty.log": "", "long.log": twoYears} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := execute(t, dir, row.args...)
			if got.code != 2 || got.stdout != "" {
				t.Errorf("exit %d, stdout %q", got.code, got.stdout)
			}
			if !strings.HasPrefix(got.stderr, "dogpile: ") || strings.Count(got.stderr, "\n") != 1 || !strings.HasSuffix(got.stderr, "\n") {
				t.Errorf("stderr is not one line: %q", got.stderr)
			}
			if !strings.Contains(got.stderr, row.want) || strings.Contains(got.stderr, "hunter2") {
				t.Errorf("stderr %q, want %q in it and no secret", got.stderr, row.want)
			}
		})
	}
	t.Cleanup(func() { onlyFiles(t, dir, "bad.log", "empty.log", "long.log") })
}

const twoYears = `::1 - - [01/Jan/2023:00:00:00 +0000] "GET /a HTTP/1.1" 200 1
::1 - - [01/Jan/2025:00:00:00 +0000] "GET /a HTTP/1.1" 200 1
`

func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}

type output struct {
	Modes []struct {
		Mode        string
		Requests    int
		Creations   int
		MaxCreators int     `json:"max_creators"`
		OriginCPU   float64 `json:"origin_cpu_s"`
		P50         float64 `json:"p50_ms"`
		P99         float64 `json:"p99_ms"`
		Max         float64 `json:"max_ms"`
		StaleServed int     `json:"stale_served"`
	}
	Cold               map[string]phase `json:"cold_start"`
	Steady             map[string]phase `json:"steady_state"`
	Unanswered, Errors map[string]int
	Settings           struct {
		Requests, Keys, Processes int
		Backend                   string
		Log                       struct{ Lines, Malformed int }
	}
}

type phase struct{ Requests, Creations int }

func decode(t *testing.T, stdout string) (out output, fields []map[string]any) {
	t.Helper()
	if strings.Count(stdout, "\n") != 1 {
		t.Errorf("stdout is not one line: %q", stdout)
	}
	var raw struct{ Modes []map[string]any }
	if err := json.Unmarshal([]byte(stdout), &raw); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(stdout), &out); err != nil {
		t.Fatal(err)
	}
	return out, raw.Modes
}

func TestJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got := execute(t, dir, with(small, "--json")...)
	if got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	out, fields := decode(t, got.stdout)
	names := []string{"creations", "max_creators", "max_ms", "mode", "origin_cpu_s", "p50_ms", "p99_ms", "requests", "stale_served"}
	for i, mode := range []string{"none", "coalesced", "dogpile"} {
		m := out.Modes[i]
		if have := slices.Sorted(maps.Keys(fields[i])); !slices.Equal(have, names) {
			t.Errorf("fields %q, want %q", have, names)
		}
		if m.Mode != mode || m.Requests != 60 || m.Creations < 5 || m.MaxCreators < 1 || m.OriginCPU <= 0 {
			t.Errorf("%s: %+v", mode, m)
		}
		if !(0 < m.P50 && m.P50 <= m.P99 && m.P99 <= m.Max) {
			t.Errorf("%s: latencies %v, %v, %v", mode, m.P50, m.P99, m.Max)
		}
		if most := map[string]int{"none": 60, "coalesced": 4, "dogpile": 1}[mode]; m.MaxCreators > most {
			t.Errorf("%s: %d creators at once for one key", mode, m.MaxCreators)
		}
		cold, steady := out.Cold[mode], out.Steady[mode]
		if cold.Requests == 0 || cold.Requests+steady.Requests != m.Requests || cold.Creations+steady.Creations != m.Creations {
			t.Errorf("%s: cold start %+v and steady state %+v of %+v", mode, cold, steady, m)
		}
		if mode != "dogpile" && m.StaleServed != 0 {
			t.Errorf("%s: %d stale served", mode, m.StaleServed)
		}
		if out.Errors[mode] != 0 {
			t.Errorf("%s: %d errors", mode, out.Errors[mode])
		}
		if !strings.Contains(got.stderr, mode+" ") {
			t.Errorf("no progress of %s on stderr: %q", mode, got.stderr)
		}
	}
	if s := out.Settings; len(out.Modes) != 3 || s.Requests != 60 || s.Keys != 5 || s.Backend != "file" || s.Processes != 4 {
		t.Errorf("%d modes, settings %+v", len(out.Modes), s)
	}
	checkPage(t, filepath.Join(dir, "report.html"))
	onlyFiles(t, dir, "report.html")
}

func TestNear(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got := execute(t, dir, "demo", "--near", "--json", "--requests=200", "--duration=300ms", "--keys=1", "--expiration=10s", "--cost=1ms")
	if got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	out, fields := decode(t, got.stdout)
	if len(fields) != 4 || out.Modes[3].Mode != "near" || !strings.Contains(got.stderr, ", four times, ") {
		t.Fatalf("modes %v; %q", fields, got.stderr)
	}
	for _, m := range fields {
		hits, near, took := m["hits"].(float64), m["near_hits"].(float64), m["hit_p50_us"].(float64)
		// In each of 4 processes a few requests come before there is a copy.
		if hits < 100 || near > hits || (near >= 50) != (m["mode"] == "near") || (near > 0) != (m["mode"] == "near") || took <= 0 {
			t.Errorf("%v: %v hits, of these %v near; %v µs", m["mode"], hits, near, took)
		}
	}
	if most := out.Modes[3].MaxCreators; most != 1 || out.Errors["near"] != 0 {
		t.Errorf("near: %d creators at once, %d errors", most, out.Errors["near"])
	}
	checkPage(t, filepath.Join(dir, "report.html"))
	onlyFiles(t, dir, "report.html")
}

func checkPage(t *testing.T, path string) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(page, new(struct{})); err != nil {
		t.Errorf("the page is not well-formed: %v", err)
	}
	if bytes.Contains(page, []byte("http")) {
		t.Error("the page refers to something outside")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the page has mode %v (%v)", info.Mode(), err)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got := execute(t, dir, with(small, "--report=")...)
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("exit %d, stderr %q", got.code, got.stderr)
	}
	for _, want := range []string{"60 requests for 5 keys", "none ", "in 4 processes over file", "processes", "most creators at once for one key", "CPU time of the origin",
		"latency p50", "latency p99", "latency max", "stale served", "latency p99, steady state", "\nIt asked the origin "} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s", want, got.stdout)
		}
	}
	if strings.ContainsAny(got.stdout, "\x1b\r") {
		t.Errorf("control characters go to a pipe: %q", got.stdout)
	}
	onlyFiles(t, dir)
}

func TestBackends(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"memory://?max_entries=1000", "null"} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			got := execute(t, t.TempDir(), with(small, "--report=", "--json", "--backend="+url)...)
			if got.code != 0 {
				t.Fatalf("exit %d: %s", got.code, got.stderr)
			}
			scheme, _, _ := strings.Cut(url, ":")
			if out, _ := decode(t, got.stdout); out.Settings.Backend != scheme || out.Settings.Processes != 1 || out.Errors["dogpile"] != 0 {
				t.Errorf("settings %+v, errors %v", out.Settings, out.Errors)
			}
		})
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log strings.Builder
	for i := range 20 {
		fmt.Fprintf(&log, "2001:db8::1 - - [29/Feb/2024:12:00:%02d +0100] \"GET /page/%d?x=%d HTTP/1.1\" 200 %d \"-\" \"a \\\"b\\\"\"\n", i, i%3, i, i)
	}
	log.WriteString("malformed\n\"\"\n")
	if err := os.WriteFile(filepath.Join(dir, "access.log"), []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name           string
		args           []string
		requests, keys int
	}{
		{"whole", nil, 20, 3},
		{"cut off by duration", []string{"--duration=55ms"}, 6, 3},
		{"cut off by requests", []string{"--requests=2"}, 2, 2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			args := with([]string{"demo", "--log=access.log", "--speed=100", "--cost=1ms", "--json", "--report="}, row.args...)
			got := execute(t, dir, args...)
			if got.code != 0 {
				t.Fatalf("exit %d: %s", got.code, got.stderr)
			}
			out, _ := decode(t, got.stdout)
			if s := out.Settings; s.Log.Lines != 20 || s.Log.Malformed != 2 || s.Requests != row.requests || s.Keys != row.keys {
				t.Errorf("settings %+v", s)
			}
			if !strings.Contains(got.stderr, "access.log (20 lines, 2 more malformed)") {
				t.Errorf("malformed lines are not reported: %q", got.stderr)
			}
			if out.Modes[2].Requests != row.requests || out.Modes[2].Creations < row.keys {
				t.Errorf("dogpile: %+v", out.Modes[2])
			}
		})
	}
}

// started runs the command and returns once it has written a line.
func started(t *testing.T, dir string, args ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	cmd, stderr = in(t, dir, args...), new(bytes.Buffer)
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd, stderr
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, stderr := started(t, dir, "demo", "--duration=1h", "--cost=1ms")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 || stderr.String() != "dogpile: interrupted\n" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	onlyFiles(t, dir)
}

func TestPageThatCannotBeKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd, stderr := started(t, dir, with(small, "--report=out/report.html")...)
	if err := os.RemoveAll(filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}
