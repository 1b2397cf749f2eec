package main

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

func TestHotsAnswerFromMemory(t *testing.T) {
	t.Parallel()
	s := redisSetting(t)
	server, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	asked := func() int64 {
		info, err := server.Do(t.Context(), server.B().Info().Section("stats").Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		n, err := infoField(info, "total_commands_processed")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, h := range hots(filepath.Join(t.TempDir(), "f")) {
		t.Run(h.name, func(t *testing.T) {
			c, err := openHot(h, s)
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			before := asked()
			seen, err := c.hammer(3, time.Millisecond) // fails on a wrong value
			if err != nil || seen.ns <= 0 {
				t.Fatalf("%+v, %v", seen, err)
			}
			// It may ask for other things than values in the meantime.
			far, sent := strings.HasSuffix(h.name, "no copies"), asked()-before
			if far != (sent >= 100) {
				t.Errorf("300 gets or more sent %d commands to the server", sent)
			}
		})
	}
}

func TestMissingCopiesAreNoticed(t *testing.T) {
	t.Parallel()
	all := []stored{{"k", sharedValue("k")}}
	c := &hotCache{"liar", &conn{
		get:  func(context.Context, string) (string, error) { return all[0].value, nil },
		near: func() int64 { return 0 },
	}, all}
	if _, err := c.hammer(1, 0); err == nil || !strings.Contains(err.Error(), "copies answered only 0") {
		t.Errorf("got %v, want an error that says so", err)
	}
	c.near = nil
	c.get = func(context.Context, string) (string, error) { return "another", nil }
	if _, err := c.hammer(1, 0); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("got %v, want an error that shows the value", err)
	}
}

func TestDeletions(t *testing.T) {
	t.Parallel()
	for _, c := range []client{redisNear, redisFar, aside, fileNear, fileFar} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := setting{Addr: filepath.Join(dir, "f"), Lease: lease}
			if !onFile(c) {
				s = redisSetting(t) // each client needs the key for itself
			}
			s.Source = filepath.Join(dir, "source")
			d, err := deleteOften(2, c, s)
			if err != nil {
				t.Fatal(err)
			}
			if len(d.took) != 2 || len(d.until) != 2 || len(d.old) != 2 {
				t.Fatalf("%+v, want 2 of each", d)
			}
			for i := range d.took {
				if d.took[i] <= 0 || d.until[i] <= 0 || d.old[i] < 0 || d.old[i] > d.until[i] {
					t.Errorf("delete %d took %v, all had the new value after %v, the old one was served for %v", i, d.took[i], d.until[i], d.old[i])
				}
			}
		})
	}
}

func TestFleet(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		client
		near, server bool
	}{
		{redisNear, true, true}, {redisFar, false, true}, {fileNear, true, false}, {fileFar, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l, err := lapOfFleet(100*time.Millisecond, row.client, filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			if l.rate <= 0 || (l.near > 0) != row.near || l.near > 1 {
				t.Errorf("%+v: copies answered: %v", l, row.near)
			}
			if row.server != (l.out > 0 && l.memory > 0 && l.tracked >= 0) {
				t.Errorf("%+v: has a server: %v", l, row.server)
			}
			if row.server && row.near != (l.tracked > 0) {
				t.Errorf("%+v: the server tracks keys: %v", l, row.near)
			}
		})
	}
}

func TestOrdersThatAClientCannotObey(t *testing.T) {
	t.Parallel()
	w := &worker{conn: &conn{}}
	for _, row := range []struct {
		name, want string
		order
	}{
		{"delete", "cannot delete", order{Key: "k", Delete: "1"}},
		{"set", "cannot set", order{Key: "k", Keys: 1, Writes: 1, Goroutines: 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if n := w.obey(row.order); !strings.Contains(n.Err, row.want) {
				t.Errorf("told %+v, want an error that says %q", n, row.want)
			}
		})
	}
}

func TestFleetCells(t *testing.T) {
	t.Parallel()
	none := math.NaN()
	for _, row := range []struct {
		name string
		laps []fleetLap
		want []string
	}{
		{"a server", []fleetLap{{2000, .5, 1, 2, 3, 4e6, 5e6, 6}}, []string{"2.0", "50.0", "1.0", "2.00", "3.00", "4.00", "5.0", "6"}},
		{"no server", []fleetLap{{2000, .5, 1, none, none, none, none, none}}, []string{"2.0", "50.0", "1.0", "", "", "", "", ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if got := fleetCells(row.laps); !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestInfoField(t *testing.T) {
	t.Parallel()
	const info = "# Memory\r\nused_memory:12\r\nused_memory_rss:34\r\n"
	if n, err := infoField(info, "used_memory_rss"); n != 34 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := infoField(info, "memory"); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("got %v, want an error that names the field", err)
	}
}
