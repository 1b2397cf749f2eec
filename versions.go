package dogpile

import (
	"context"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// versions is how a region tells valid entries from those that were invalidated.
// There is one implementation for each kind of Invalidator.
type versions interface {
	// known returns the token to judge entries by, if there is one that need not be
	// read, and otherwise the key under which it is read together with the entries. It
	// returns neither where there is no token.
	known() (t *token, ask string)
	// parse returns the token that was read, or nil if there is none. asked is when
	// the backend was asked, on the clock of now.
	parse(it *driver.Item, asked int64) *token
	// judge returns the state of an entry of key that was stored under version, and
	// whose creation began at that time. t is the token in force; nil: there is none.
	judge(t *token, key, version string, began time.Time) State
	// shared returns the version that all readings by t have in common: callers share
	// a creation only under one version. It makes a token where t is nil.
	shared(ctx context.Context, t *token) (string, error)
	// entry returns the version under which an entry of key is stored whose creation
	// begins now; shared is what the method of that name has returned.
	entry(ctx context.Context, shared, key string) (string, error)
	// invalidate is Region.Invalidate.
	invalidate(ctx context.Context, mode Mode) error
}

// localVersions keeps the token in a LocalInvalidator.
type localVersions struct{ *LocalInvalidator }

func (v localVersions) known() (*token, string)        { return v.token(), "" }
func (localVersions) parse(*driver.Item, int64) *token { return nil }
func (v localVersions) invalidate(ctx context.Context, mode Mode) error {
	return v.Invalidate(ctx, mode)
}

func (localVersions) judge(t *token, _, version string, began time.Time) State {
	return t.judgeLocal(version, began)
}

func (v localVersions) shared(_ context.Context, t *token) (string, error) {
	if t == nil {
		t = v.token()
	}
	return t.Version, nil
}

func (localVersions) entry(_ context.Context, shared, _ string) (string, error) { return shared, nil }

// customVersions asks an Invalidator of the user's, which sees each key.
type customVersions struct{ Invalidator }

func (customVersions) known() (*token, string)          { return nil, "" }
func (customVersions) parse(*driver.Item, int64) *token { return nil }
func (v customVersions) invalidate(ctx context.Context, mode Mode) error {
	return v.Invalidate(ctx, mode)
}

func (v customVersions) judge(_ *token, key, version string, began time.Time) State {
	return v.Judge(key, version, began)
}

func (customVersions) shared(context.Context, *token) (string, error) { return "", nil }

func (v customVersions) entry(ctx context.Context, _, key string) (string, error) {
	return v.Version(ctx, key)
}
