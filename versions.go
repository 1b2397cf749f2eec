package dogpile

import (
	"context"
	"slices"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// versions is how a region tells valid entries from those that were invalidated.
// There is one implementation for each kind of Invalidator.
type versions interface {
	// of returns the history that the entry under a mangled key belongs to.
	of(mangled string) history
	// invalidate is Region.Invalidate; only is the tokens that a partError has told of, nil
	// stands for all.
	invalidate(ctx context.Context, mode Mode, only []*tokens) error
}

// history is the versions that one token has had. A region has one, or where it keeps
// tokens on several servers one for each of them. Histories can be compared with ==.
type history interface {
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
	// shared returns the version that all readings by the token in force have in common:
	// callers share a creation only under one version. It makes a token where there is
	// none.
	shared(ctx context.Context) (string, error)
	// entry returns the version under which an entry of key is stored whose creation
	// begins now; shared is what the method of that name has returned.
	entry(ctx context.Context, shared, key string) (string, error)
}

// localVersions keeps the token in a LocalInvalidator.
type localVersions struct{ *LocalInvalidator }

func (v localVersions) of(string) history              { return v }
func (v localVersions) known() (*token, string)        { return v.token(), "" }
func (localVersions) parse(*driver.Item, int64) *token { return nil }
func (v localVersions) invalidate(ctx context.Context, mode Mode, _ []*tokens) error {
	return v.Invalidate(ctx, mode)
}

func (localVersions) judge(t *token, _, version string, began time.Time) State {
	return t.judgeLocal(version, began)
}

func (v localVersions) shared(context.Context) (string, error) { return v.token().Version, nil }

func (localVersions) entry(_ context.Context, shared, _ string) (string, error) { return shared, nil }

// customVersions asks an Invalidator of the user's, which sees each key. It is used by
// pointer: an Invalidator need not be of a type that can be compared.
type customVersions struct{ Invalidator }

func (v *customVersions) of(string) history              { return v }
func (*customVersions) known() (*token, string)          { return nil, "" }
func (*customVersions) parse(*driver.Item, int64) *token { return nil }
func (v *customVersions) invalidate(ctx context.Context, mode Mode, _ []*tokens) error {
	return v.Invalidate(ctx, mode)
}

func (v *customVersions) judge(_ *token, key, version string, began time.Time) State {
	return v.Judge(key, version, began)
}

func (*customVersions) shared(context.Context) (string, error) { return "", nil }

func (v *customVersions) entry(ctx context.Context, _, key string) (string, error) {
	return v.Version(ctx, key)
}

// sharedVersions is the shared versions of some histories, each of which is asked once.
type sharedVersions []sharedVersion

type sharedVersion struct {
	history history
	version string
	err     error
}

func (vs *sharedVersions) add(h history) {
	for i := range *vs {
		if (*vs)[i].history == h {
			return
		}
	}
	*vs = append(*vs, sharedVersion{history: h})
}

// ask finds out the versions. The histories of several servers are asked at the same
// time: one that hangs costs one time-out, and not one for each that comes after it.
func (vs sharedVersions) ask(ctx context.Context) {
	for i, err := range each(len(vs), len(vs), func(i int) (err error) {
		vs[i].version, err = vs[i].history.shared(ctx)
		return err
	}) {
		vs[i].err = err
	}
}

// sharedFor returns the shared versions for keys, and the history of each.
func (s *state) sharedFor(ctx context.Context, mangled []string) (shared sharedVersions, histories []history) {
	histories = make([]history, len(mangled))
	for range 2 {
		shared = nil
		for i, m := range mangled {
			histories[i] = s.versions.of(m)
			shared.add(histories[i])
		}
		// Asking for the versions may be how the backend learns which server keeps what.
		if shared.ask(ctx); !s.moved(mangled, histories) {
			break
		}
	}
	return shared, histories
}

// moved reports whether a key belongs to another history by now.
func (s *state) moved(mangled []string, histories []history) bool {
	for i, m := range mangled {
		if s.versions.of(m) != histories[i] {
			return true
		}
	}
	return false
}

// find returns the version of h, which was added before ask.
func (vs sharedVersions) find(h history) (string, error) {
	i := slices.IndexFunc(vs, func(v sharedVersion) bool { return v.history == h })
	return vs[i].version, vs[i].err
}

// entry is history.entry for a key of h.
func (vs sharedVersions) entry(ctx context.Context, h history, key string) (string, error) {
	shared, err := vs.find(h)
	if err != nil {
		return "", err
	}
	return h.entry(ctx, shared, key)
}
