package main

import "testing"

func TestLeaseTries(t *testing.T) {
	t.Parallel()
	s := redisSetting(t)
	seen, err := tryLeases(s.Addr, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	// Each region finds the value stale, and so tries once at least.
	if seen.creations != 1 || seen.tries < 3 || seen.most < 1 || seen.first != seen.tries {
		t.Errorf("%+v, want one creation and a try of each region", seen)
	}
}
