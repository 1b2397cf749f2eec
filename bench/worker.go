package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A worker is the inside of a process.
type worker struct {
	conn   *conn
	source string // see setting

	mu      sync.Mutex
	out     *json.Encoder
	take    time.Duration // what a creator takes
	created []int64
}

// work obeys the orders that come from in until there are no more.
func work(role string, in io.Reader, out io.Writer) error {
	w := &worker{out: json.NewEncoder(out)}
	err := w.open(role)
	if err != nil {
		return w.out.Encode(news{Err: err.Error()})
	}
	defer w.conn.close()
	w.tell(news{})
	for d := json.NewDecoder(in); ; {
		var o order
		if err := d.Decode(&o); err != nil {
			return nil
		}
		w.tell(w.obey(o))
	}
}

func (w *worker) open(role string) error {
	var s setting
	if err := json.Unmarshal([]byte(role), &s); err != nil {
		return err
	}
	c, found := clientNamed(s.Client)
	if !found || c.open == nil {
		return fmt.Errorf("no client %q", s.Client)
	}
	s.create, w.source = w.create, s.Source
	var err error
	w.conn, err = c.open(s)
	return err
}

func (w *worker) tell(n news) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out.Encode(n)
}

func (w *worker) create(_ context.Context, key string) (string, error) {
	w.tell(news{Creating: true})
	w.mu.Lock()
	take := w.take
	w.mu.Unlock()
	time.Sleep(take)
	value := sharedValue(key)
	if w.source != "" {
		data, err := os.ReadFile(w.source)
		if err != nil {
			return "", err
		}
		value = string(data)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.created = append(w.created, time.Now().UnixNano())
	return value, nil
}

func (w *worker) obey(o order) news {
	switch {
	case o.Await != "":
		return w.await(o)
	case o.Delete != "":
		return w.delete(o)
	case o.Keys > 0:
		return w.mix(o)
	}
	return w.once(o)
}

// once gets a key once from each goroutine.
func (w *worker) once(o order) news {
	w.mu.Lock()
	w.take, w.created = o.Create, nil
	w.mu.Unlock()
	var wg sync.WaitGroup
	begin := make(chan struct{})
	calls, errs := make([]span, o.Goroutines), make([]error, o.Goroutines)
	for i := range o.Goroutines {
		wg.Go(func() {
			<-begin
			calls[i], errs[i] = w.conn.call(o.Key)
		})
	}
	time.Sleep(time.Until(time.Unix(0, o.At)))
	close(begin)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return news{Err: err.Error()}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return news{Created: w.created, Calls: calls}
}

// call gets key, and makes sure that its value is right.
func (c *conn) call(key string) (span, error) {
	s := span{Start: time.Now().UnixNano()}
	v, err := c.get(context.Background(), key)
	s.End = time.Now().UnixNano()
	if err == nil && v != sharedValue(key) {
		err = fmt.Errorf("got %q for %q", v, key)
	}
	return s, err
}
