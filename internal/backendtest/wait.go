//go:build unix

package backendtest

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dogpile-go/dogpile/internal/fleettest"
)

// patience is how long anything may take that has to happen some time.
const patience = 2 * time.Minute

// Eventually waits for cond.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for start := time.Now(); !cond(); {
		if time.Since(start) > patience {
			t.Fatalf("waited in vain for %s", what)
		}
		Pause(5 * time.Millisecond)
	}
}

// Pause lets real time pass, for the programs outside.
func Pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// OK fails the test if there is an error.
func OK(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Unique returns a key that no other run of a test uses on a shared server.
func Unique(t testing.TB) string {
	return strings.NewReplacer("/", ".", " ", "-").Replace(t.Name()) + rand.Text()
}

// Outliving returns a testing.TB whose Cleanup and TempDir last until Main ends,
// for what several tests use.
func Outliving(t testing.TB) testing.TB { return outliving{t} }

type outliving struct{ testing.TB }

var atExit []func()

func (o outliving) Cleanup(f func()) { atExit = append(atExit, f) }

func (o outliving) TempDir() string {
	dir, err := os.MkdirTemp("", "dogpile")
	if err != nil {
		o.Fatal(err)
	}
	atExit = append(atExit, func() { os.RemoveAll(dir) })
	return dir
}

// ForExamples is a testing.TB for examples, which have none. It panics where a
// test would fail.
func ForExamples() testing.TB { return outliving{loud{}} }

type loud struct{ testing.TB }

func (loud) Helper()                           {}
func (loud) Error(args ...any)                 { panic(fmt.Sprint(args...)) }
func (loud) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (loud) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Main is the TestMain of a package that uses this one. In a process of
// fleettest, or of HoldElsewhere, it does not return.
func Main(m *testing.M) {
	fleettest.Play()
	holdForGood()
	code := m.Run()
	for i := len(atExit) - 1; i >= 0; i-- {
		atExit[i]()
	}
	os.Exit(code)
}
