//go:build unix

package backendtest

import (
	"strings"
	"testing"
	"time"
)

// Errors checks what errors of calls say, which a region puts behind the
// operation and the key: the kind of backend and the server once, and neither
// "dogpile: " nor the operation.
func Errors(t *testing.T, k Kind) {
	t.Run("of a server that is gone", func(t *testing.T) {
		t.Parallel()
		s := k.Start(t)
		b := Open(t, k.URL(s.URL(), append(patient, "breaker=false")...))
		s.Kill()
		for name, call := range calls(t.Context(), b) {
			var err error
			Eventually(t, name+" to be refused", func() bool {
				err = call()
				return err != nil && strings.Contains(err.Error(), "refused")
			})
			wantOnce(t, k, name, err)
			if strings.Count(err.Error(), s.Addr()) != 1 {
				t.Errorf("%s = %q: the server is to be named once", name, err)
			}
		}
	})
	t.Run("while the breaker is open", func(t *testing.T) {
		t.Parallel()
		s := k.Start(t)
		b := Open(t, k.URL(s.URL(), append(patient, "breaker_failures=1", "breaker_cooldown=1h")...))
		s.Kill()
		open := func() error { return calls(t.Context(), b)["Get"]() }
		Eventually(t, "the breaker to open", func() bool {
			err := open()
			return err != nil && strings.Contains(err.Error(), "breaker")
		})
		if err := open(); strings.Contains(err.Error(), "dogpile: ") {
			t.Errorf("Get = %q", err)
		}
	})
	t.Run("after Close", func(t *testing.T) {
		t.Parallel()
		b := Open(t, k.URL(k.Shared(t).URL(), append(patient, "breaker=false")...)) // which would open as well
		key := Unique(t)
		Hold(t, b, key, time.Minute)
		waited := make(chan error)
		go func() { waited <- b.Wait(t.Context(), key) }()
		OK(t, b.Close())
		all := calls(t.Context(), b)
		all["Wait that was called before"] = func() error { return <-waited }
		for name, call := range all {
			err := call()
			if err == nil || !strings.HasSuffix(err.Error(), "is closed") {
				t.Errorf("%s = %v: it is to say that the backend is closed", name, err)
			}
			wantOnce(t, k, name, err)
		}
	})
}

// wantOnce checks that err begins with the kind of backend.
func wantOnce(t *testing.T, k Kind, op string, err error) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), k.Name) || strings.Count(err.Error(), k.Name) != 1 || strings.Contains(err.Error(), "dogpile: ") ||
		strings.Contains(err.Error(), strings.ToLower(op)+":") {
		t.Errorf("%s = %q", op, err)
	}
}
