package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// deleted is how many processes get a key that another one deletes.
	deleted = 8
	// deleteKey is that key.
	deleteKey = "deleted"
	// pause is between two gets of such a process: eight that do nothing else would
	// show what their scheduler does.
	pause = 100 * time.Microsecond
)

// printNearDelete prints how long it takes until all processes serve the new value
// of a key that one of them deletes.
func printNearDelete(o *options) error {
	server, err := startRedis()
	if err != nil {
		return err
	}
	defer server.Close()
	dir, err := os.MkdirTemp("", "dogpile-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	head := []string{"from Delete on, ms", "Delete p50", "all new p50", "p99", "max", "old after its return p50", "p99", "max", fmt.Sprintf("max ≤ %v", nearLag)}
	rows := [][]string{head}
	for i, c := range []client{redisNear, redisFar, aside, fileNear, fileFar} {
		if !o.filter.MatchString(c.name) {
			continue
		}
		s := setting{Addr: server.addr, Lease: lease, Source: filepath.Join(dir, fmt.Sprint("source", i))}
		if onFile(c) {
			s.Addr = filepath.Join(dir, fmt.Sprint("file", i))
		}
		o.progress(fmt.Sprintf("near-delete: %s, %d times", c.name, o.deletes))
		d, err := deleteOften(o.deletes, c, s)
		if err != nil {
			return err
		}
		rows = append(rows, slices.Concat([]string{c.name, fmt.Sprintf("%.2f", milliseconds(stampedeOf(1, d.took).p50))},
			deletionCells(d.until), deletionCells(d.old), []string{verdict(slices.Max(d.old) <= nearLag)}))
	}
	if len(rows) > 1 {
		printTable(o.out, fmt.Sprintf("Delete in one process, %d others get the key every %v; %d times, Lag %v", deleted, pause, o.deletes, nearLag), rows)
	}
	return nil
}

func deletionCells(all []time.Duration) []string {
	seen := stampedeOf(1, all)
	var cells []string
	for _, d := range []time.Duration{seen.p50, seen.p99, seen.max} {
		cells = append(cells, fmt.Sprintf("%.2f", milliseconds(d)))
	}
	return cells
}

// Deletions are what deletes showed: how long they took, how long it was from their
// beginning until the last process had the new value, and for how long after their
// return a get still began that returned the old one.
type deletions struct{ took, until, old []time.Duration }

func deleteOften(n int, c client, s setting) (d deletions, err error) {
	if err := os.WriteFile(s.Source, []byte("0"), 0o600); err != nil {
		return d, err
	}
	all, err := launch(1+deleted, c, s)
	if err != nil {
		return d, err
	}
	defer closeAll(all)
	for i := range 1 + n {
		seen, own, err := deletion(all, fmt.Sprint(i+1))
		if err != nil {
			return d, err
		}
		if i == 0 { // it was to warm up
			continue
		}
		var until, old time.Duration
		for _, s := range seen {
			until = max(until, time.Duration(s.End-own.Start))
			old = max(old, time.Duration(s.Start-own.End))
		}
		d.took, d.until, d.old = append(d.took, time.Duration(own.End-own.Start)), append(d.until, until), append(d.old, old)
	}
	return d, nil
}

// deletion has the first of processes delete the key when all others have its old
// value. It returns how long that took, and for each of the others when the last get
// began that returned the old value, and when the first one ended that returned the
// new one.
func deletion(all []*process, value string) (seen []span, own span, err error) {
	deleter, others := all[0], all[1:]
	for _, p := range others {
		if err := p.in.Encode(order{Key: deleteKey, Await: value}); err != nil {
			return nil, own, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	for _, p := range others {
		for awaiting := false; !awaiting; {
			n, err := p.next(patience)
			if err != nil {
				return nil, own, err
			}
			if awaiting = n.Awaiting; !awaiting && !n.Creating {
				return nil, own, fmt.Errorf("%s: has the value of a key that was not deleted", p.name)
			}
		}
	}
	did, err := orderAll(all[:1], order{Key: deleteKey, Delete: value})
	if err != nil {
		return nil, own, err
	}
	if len(did.Calls) != 1 {
		return nil, own, fmt.Errorf("%s: told of %d deletes", deleter.name, len(did.Calls))
	}
	for _, p := range others {
		n, err := p.done(patience)
		if err != nil {
			return nil, own, err
		}
		seen = append(seen, n.Calls...)
	}
	return seen, did.Calls[0], nil
}

// await gets a key until it has the value that is awaited.
func (w *worker) await(o order) news {
	const warm = 10 // gets of the old value, so that there is a copy of it
	var s span
	for n := 1; ; n++ {
		began := time.Now().UnixNano()
		v, err := w.conn.get(context.Background(), o.Key)
		if err != nil {
			return news{Err: err.Error()}
		}
		if v == o.Await {
			s.End = time.Now().UnixNano()
			return news{Calls: []span{s}}
		}
		s.Start = began
		if n == warm {
			w.tell(news{Awaiting: true})
		}
		time.Sleep(pause)
	}
}

// delete changes what creators return, and then deletes a key.
func (w *worker) delete(o order) news {
	if w.conn.delete == nil {
		return news{Err: "the client cannot delete"}
	}
	// Never is there a part of a value, and no old one after a new one.
	next := w.source + ".next"
	if err := errors.Join(os.WriteFile(next, []byte(o.Delete), 0o600), os.Rename(next, w.source)); err != nil {
		return news{Err: err.Error()}
	}
	s := span{Start: time.Now().UnixNano()}
	err := w.conn.delete(context.Background(), o.Key)
	s.End = time.Now().UnixNano()
	if err != nil {
		return news{Err: err.Error()}
	}
	return news{Calls: []span{s}}
}
