package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEveryFileKeepsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	entries := fileEntries(20)
	for _, k := range fileKinds {
		if k.open == nil {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "f")
			s, err := k.open(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.fill(entries[:19]); err != nil {
				t.Fatal(err)
			}
			if err := s.set(entries[19].key, entries[19].value); err != nil {
				t.Fatal(err)
			}
			if v, err := s.get("absent"); v != "" {
				t.Errorf("got %q, %v for an absent key", v, err)
			}
			s.close()
			again, err := k.open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer again.close()
			for _, e := range entries {
				if v, err := again.get(e.key); err != nil || v != e.value {
					t.Errorf("%s: got %q, %v", e.key, v, err)
				}
			}
		})
	}
}

func TestFileProcesses(t *testing.T) {
	t.Parallel()
	for _, k := range fileKinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			r := fileRole{Path: filepath.Join(t.TempDir(), "f"), Keys: 10}
			f := &fileFleet{name: k.name}
			for at := range 3 {
				r.Fill = at == 0
				p, err := startFile(k, r)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				f.all = append(f.all, p)
			}
			if dbm := f.all[0].dbm; (k.open == nil) != strings.HasPrefix(dbm, "dbm.") {
				t.Errorf("has dbm %q", dbm)
			}
			reads, writes, err := f.mix(2, 20*time.Millisecond)
			if err != nil || reads <= 0 || writes <= 0 {
				t.Errorf("%v reads, %v writes, %v", reads, writes, err)
			}
			if l, err := f.all[0].lap(fileOrder{}); err != nil || l.took <= 0 {
				t.Errorf("%+v, %v", l, err)
			}
		})
	}
}

func TestFileWorkerFailures(t *testing.T) {
	t.Parallel()
	nowhere, _ := json.Marshal(fileRole{Kind: backendOnFile.name, Path: filepath.Join(t.TempDir(), "no", "f")})
	empty, _ := json.Marshal(fileRole{Kind: backendOnFile.name, Path: filepath.Join(t.TempDir(), "f"), Keys: 1})
	for _, row := range []struct{ name, role, want string }{
		{"no JSON", "{", "JSON"},
		{"unknown kind", `{"Kind": "stone"}`, `no kind of file "stone"`},
		{"cannot be opened", string(nowhere), "no such file"},
		{"a miss", string(empty), errMissed.Error()},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := workFile(row.role, strings.NewReader("{}"), &out); err != nil {
				t.Fatal(err)
			}
			var last fileNews
			for d := json.NewDecoder(&out); d.More(); {
				if err := d.Decode(&last); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.Contains(last.Err, row.want) {
				t.Errorf("told %+v, want an error that says %q", last, row.want)
			}
		})
	}
}

func TestWrongFileValueIsNoticed(t *testing.T) {
	t.Parallel()
	e := fileEntries(1)[0]
	liar := &fileStore{get: func(string) (string, error) { return e.value + "!", nil }}
	at := 0
	if _, err := liar.obey(fileOrder{}, []stored{e}, &at); err == nil || !strings.Contains(err.Error(), "wrong value") {
		t.Errorf("got %v, want an error that says so", err)
	}
}

func TestFileCells(t *testing.T) {
	t.Parallel()
	first := []fileLap{{took: 1}, {took: 30}, {took: 3}}
	got := fileCells([]fileLap{{2, 1}, {60, 2}, {3, 3}}, first)
	if want := []string{"3.0", "2.0", "2.00"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
