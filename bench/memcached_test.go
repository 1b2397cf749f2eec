package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// memcachedSetting returns the setting of a server for this test.
func memcachedSetting(t *testing.T) setting {
	t.Helper()
	s, err := startMemcached()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return setting{Addr: s.addr, Lease: lease}
}

func TestEveryMemcachedClientReturnsTheRightValue(t *testing.T) {
	t.Parallel()
	s := memcachedSetting(t)
	for _, c := range memcachedClients {
		t.Run(c.name, func(t *testing.T) {
			s := s
			var creations atomic.Int64
			s.create = func(_ context.Context, key string) (string, error) {
				creations.Add(1)
				return sharedValue(key), nil
			}
			for range 2 { // the second time from what the first one stored
				opened, err := c.open(s)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 10 {
					if _, err := opened.call(fmt.Sprint(c.name, ":", i)); err != nil {
						t.Error(err)
					}
				}
				opened.close()
			}
			if n := creations.Load(); n != 10 {
				t.Errorf("%d creations of 10 keys", n)
			}
		})
	}
}

func TestEveryBatcherHits(t *testing.T) {
	t.Parallel()
	s := memcachedSetting(t)
	for _, b := range batchers {
		t.Run(b.name, func(t *testing.T) {
			r, err := b.runner(s)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			calls, err := r.run(3, 10*time.Millisecond) // fails on a miss and a wrong value
			if err != nil || len(calls) < 3 {
				t.Errorf("%d calls, %v; want some of each of 3 goroutines", len(calls), err)
			}
			opened, err := b.open(s)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.close()
			if err := opened.check([]string{b.name + ":0:0", b.name + ":absent"}); !errors.Is(err, errMissed) {
				t.Errorf("got %v, want %v", err, errMissed)
			}
		})
	}
}

func TestWrongBatchIsNoticed(t *testing.T) {
	t.Parallel()
	liar := &batch{get: func(_ context.Context, keys []string, found func(key, value string)) error {
		found(keys[0], sharedValue("another"))
		return nil
	}}
	if err := liar.check([]string{"k"}); err == nil || !strings.Contains(err.Error(), "wrong value") {
		t.Errorf("got %v, want an error that says so", err)
	}
}
