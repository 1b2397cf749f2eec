package flight

import "time"

// Remembered is the error of a creation that ended before the caller came, as Err; see
// [Call].FailFor.
type Remembered struct{ Err error }

// Error returns the text of Err.
func (r *Remembered) Error() string { return r.Err.Error() }

// Unwrap returns Err.
func (r *Remembered) Unwrap() error { return r.Err }

// failure is the error of a creation of one key, while later callers get it.
type failure struct {
	err     *Remembered
	reading string // the version of the readings that the creation went by
	timer   *time.Timer
}

// maxFailures is how many failures a shard keeps. A program that asks for keys that do
// not exist must not fill the memory.
const maxFailures = 1024

// failed returns the error of a creation that is the answer for a caller on these terms,
// if there is one. What was invalidated since is none. mu is held.
func (sh *shard) failed(key string, on terms) error {
	if f := sh.failures[key]; f != nil && on.fails && f.reading == on.reading {
		return f.err
	}
	return nil
}

// fail makes err the answer of callers for the next d. mu is held.
func (sh *shard) fail(key, reading string, err error, d time.Duration) {
	sh.endFailure(key)
	if sh.failures == nil {
		sh.failures = make(map[string]*failure)
	}
	for other := range sh.failures {
		if len(sh.failures) < maxFailures {
			break
		}
		sh.endFailure(other) // any will do: its creator may run once more
	}
	f := &failure{err: &Remembered{err}, reading: reading}
	f.timer = time.AfterFunc(d, func() {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		// 1. The timer fires.  2. The creator runs again, and fails again.  3. This
		// function gets the mutex: it must leave the new failure alone.
		if sh.failures[key] == f {
			delete(sh.failures, key)
		}
	})
	sh.failures[key] = f
}

func (sh *shard) endFailure(key string) {
	if f := sh.failures[key]; f != nil {
		f.timer.Stop()
		delete(sh.failures, key)
	}
}
