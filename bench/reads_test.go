package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestEveryReadingIsWhatItSays(t *testing.T) {
	quick := &options{time: time.Millisecond, tries: 1}
	for _, r := range readings() {
		t.Run(r.name, func(t *testing.T) {
			s, err := r.sample(quick) // fails on a wrong value or number of creations
			if err != nil || s.ns <= 0 {
				t.Errorf("%+v, %v", s, err)
			}
		})
		t.Run(r.name+", taken for its opposite", func(t *testing.T) {
			r.misses = !r.misses
			if _, err := r.sample(quick); err == nil || !strings.Contains(err.Error(), "creations in") {
				t.Errorf("got %v, want an error that tells the creations", err)
			}
		})
	}
}

func TestWrongUserIsNoticed(t *testing.T) {
	t.Parallel()
	few := map[int]user{1: userOf(1)}
	all := make(map[int]user)
	for id := range readKeys {
		all[id] = userOf(id)
	}
	for what, err := range map[string]error{
		"one":          isSomeone(userOf(8), nil),
		"one, failed":  isSomeone(noUser(context.Background())),
		"too few":      areUsers(few, 1, 1, nil),
		"another":      areUsers(all, 1, 2, nil),
		"many, failed": areUsers(all, 1, 1, errMissed),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if err := errors.Join(isSomeone(someone, nil), areUsers(all, 1, 1, nil)); err != nil {
		t.Error(err)
	}
}
