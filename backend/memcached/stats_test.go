package memcached_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/backend/memcached"
	"github.com/dogpile-go/dogpile/driver"
	"github.com/dogpile-go/dogpile/internal/backendtest"
)

// TestStats: each server tells its own, and one that is down why it does not.
func TestStats(t *testing.T) {
	t.Parallel()
	one, two, down := backendtest.StartMemcached(t, "-m", "10"), backendtest.StartMemcached(t, "-m", "20"), backendtest.NewMemcached(t)
	down.Start(t)
	b, err := memcached.New([]string{one.Addr(), two.Addr(), down.Addr()}, &memcached.Options{Timeout: 20 * time.Second, ConnectTimeout: 20 * time.Second})
	backendtest.OK(t, err)
	defer b.Close()
	down.Kill()
	all := b.Stats(t.Context(), "")
	settings := b.Stats(t.Context(), "settings")
	if len(all) != 3 || all[0].Err != nil || all[1].Err != nil || all[2].Err == nil || !strings.Contains(all[2].Err.Error(), all[2].Addr) || all[2].Stats != nil {
		t.Fatalf("%+v", all)
	}
	if all[0].Addr != one.Addr() || all[0].Stats["limit_maxbytes"] != "10485760" || all[1].Stats["limit_maxbytes"] != "20971520" || !strings.HasPrefix(all[0].Stats["version"], "1.") {
		t.Errorf("%+v", all)
	}
	if settings[1].Stats["evictions"] != "on" || settings[1].Stats["maxbytes"] != "20971520" {
		t.Errorf("%+v", settings[1])
	}
	for _, group := range []string{"nosuch", "reset", "Reset", "items\r\nflush_all", "items x", "é"} {
		if none := b.Stats(t.Context(), group); len(none) != 3 || none[0].Err == nil || strings.ContainsAny(none[0].Err.Error(), "\r\n") {
			t.Errorf("group %q: %+v", group, none)
		}
	}
}

func TestStatsOverTheBinaryProtocol(t *testing.T) {
	t.Parallel()
	b, err := memcached.New([]string{backendtest.StartMemcached(t).Addr()}, &memcached.Options{Protocol: "binary"})
	backendtest.OK(t, err)
	defer b.Close()
	if all := b.Stats(t.Context(), ""); all[0].Err != nil || all[0].Stats != nil || all[0].RoundTrip <= 0 {
		t.Errorf("%+v", all)
	}
}

// TestStatsOfAServerThatHangs: it keeps no other from being seen, and takes no time of theirs.
func TestStatsOfAServerThatHangs(t *testing.T) {
	t.Parallel()
	servers := []*backendtest.Memcached{backendtest.StartMemcached(t), backendtest.StartMemcached(t), backendtest.StartMemcached(t)}
	b, err := memcached.New([]string{servers[0].Addr(), servers[1].Addr(), servers[2].Addr()}, &memcached.Options{ConnectTimeout: 20 * time.Second})
	backendtest.OK(t, err)
	defer b.Close()
	servers[0].Stop(t)
	t.Cleanup(func() { servers[0].Resume(t) })
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all := b.Stats(ctx, "")
	if !errors.Is(all[0].Err, context.DeadlineExceeded) || strings.Contains(all[0].Err.Error(), "closed") {
		t.Errorf("the one that hangs: %v", all[0].Err)
	}
	for _, s := range all[1:] {
		if s.Err != nil || s.Stats["pid"] == "" || s.RoundTrip <= 0 || s.RoundTrip >= patience {
			t.Errorf("one that does not hang: %+v", s)
		}
	}
}

func TestStatsOfAClosedBackend(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"meta", "binary"} {
		b, err := memcached.New([]string{backendtest.StartMemcached(t).Addr()}, &memcached.Options{Protocol: protocol})
		backendtest.OK(t, err)
		backendtest.OK(t, b.Close())
		if all := b.Stats(t.Context(), ""); len(all) != 1 || all[0].Err == nil || !strings.Contains(all[0].Err.Error(), "the backend is closed") {
			t.Errorf("%s: %+v", protocol, all)
		}
	}
}

func TestLeft(t *testing.T) {
	t.Parallel()
	b, err := memcached.New([]string{backendtest.StartMemcached(t).Addr()}, &memcached.Options{Timeout: 20 * time.Second, ConnectTimeout: 20 * time.Second})
	backendtest.OK(t, err)
	defer b.Close()
	backendtest.OK(t, b.Set(t.Context(), []driver.Item{{Key: "hour", Data: []byte("v"), TTL: time.Hour}, {Key: "ever", Data: []byte("v")}}))
	if left, known, err := b.Left(t.Context(), "hour"); left < 50*time.Minute || left > time.Hour+3*time.Second || !known || err != nil {
		t.Errorf("hour: %v, %v, %v", left, known, err)
	}
	if left, known, err := b.Left(t.Context(), "ever"); left != 0 || !known || err != nil {
		t.Errorf("ever: %v, %v, %v", left, known, err)
	}
	if left, known, err := b.Left(t.Context(), "absent"); left != 0 || known || err != nil {
		t.Errorf("absent: %v, %v, %v", left, known, err)
	}
}
