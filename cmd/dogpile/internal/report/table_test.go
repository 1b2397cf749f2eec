package report_test

import (
	"strings"
	"testing"
)

func table(t *testing.T, columns int) string {
	t.Helper()
	var out strings.Builder
	if err := sample(t).Table(&out, columns); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const wide = `                                       none   coalesced   dogpile
                         requests       100         100       100
                        processes         4           4         4
                        creations        30          29        28
most creators at once for one key         9           8         7
           CPU time of the origin    1.50 s      1.50 s    1.50 s
                      latency p50   1.23 ms     1.23 ms   1.23 ms
                      latency p99    250 ms      250 ms    250 ms
                      latency max    3.00 s      3.00 s    3.00 s
                     stale served         0           5        10
            unanswered at the end         2           1         0
                           errors         0           1         2
            creations, cold start        20          20        20
          latency p50, cold start   1.23 ms     1.23 ms   1.23 ms
          latency p99, cold start    250 ms      250 ms    250 ms
          creations, steady state        10           9         8
        latency p50, steady state   1.00 ms     1.00 ms   1.00 ms
        latency p99, steady state     30 ms       20 ms     10 ms
`

func TestTableWithNear(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := nearSample(t).Table(&out, 0); err != nil {
		t.Fatal(err)
	}
	want := `                     stale served         0           5        10        10
                       fresh hits         0          85        86        87
                   of these, near         0           0         0        80
            a fresh hit took, p50         –       12 ms     46 µs   0.12 µs
            unanswered at the end         2           1         0         0
`
	if !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwant in it\n%s", out.String(), want)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	for _, columns := range []int{0, 65, 80} {
		if got := table(t, columns); got != wide {
			t.Errorf("%d columns: got\n%s", columns, got)
		}
	}
	narrow := table(t, 64)
	begin := "      none   coalesced   dogpile\n" +
		"requests\n" +
		"       100         100       100\n"
	if !strings.HasPrefix(narrow, begin) || strings.Count(narrow, "\n") != 1+2*17 {
		t.Errorf("64 columns: got\n%s", narrow)
	}
	if got := table(t, 1); got != narrow {
		t.Errorf("1 column: got\n%s", got)
	}
}
