package memcached_test

import (
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
	if none := b.Stats(t.Context(), "nosuch"); none[0].Err == nil || strings.Contains(none[0].Err.Error(), "\n") {
		t.Errorf("a group that there is not: %+v", none[0])
	}
}

func TestStatsOverTheBinaryProtocol(t *testing.T) {
	t.Parallel()
	b, err := memcached.New([]string{backendtest.StartMemcached(t).Addr()}, &memcached.Options{Protocol: "binary"})
	backendtest.OK(t, err)
	defer b.Close()
	if all := b.Stats(t.Context(), ""); all[0].Err == nil {
		t.Errorf("%+v", all)
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
