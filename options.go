package dogpile

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// NoPrefix, as [Options.Prefix], puts nothing before keys.
const NoPrefix = "\x00"

const (
	defaultCreateTimeout  = 30 * time.Second
	defaultLockTTL        = 10 * time.Second
	defaultBackendTimeout = 2 * time.Second

	// A lease is renewed at a third of its time. Less than this is no time for a round
	// trip; with more than a day nobody would follow a creator that died.
	minLockTTL = 10 * time.Millisecond
	maxLockTTL = 24 * time.Hour
)

// Options says how a region works. The zero value is a region whose entries
// never expire. A region copies its Options.
type Options struct {
	// Expiration is the age at which an entry becomes stale, counted from the end of
	// its creation. 0 or Never: never.
	Expiration time.Duration
	// StaleFor is how long past Expiration a stale entry may be served.
	// 0: as long again as Expiration; Never: no bound.
	StaleFor time.Duration
	// StaleIfError is how long past Expiration an entry may stand in for a creator
	// that fails. 0: not at all; Never: no bound. It is not less than StaleFor.
	StaleIfError time.Duration
	// RefreshAhead is the fraction of its expiration after which a fresh entry is renewed
	// in the background, by the Runner if there is one, for a call that asks for it: all
	// calls get the fresh value meanwhile, and one process of all that share the backend
	// creates. Entries that nobody asks for are left alone. Above 0 and below 1; 0: none.
	RefreshAhead float64
	// FailFor is how long the error of a creator, or its panic, is the answer of later
	// callers in this process that find no value they may return. It is forgotten when the
	// key is set or deleted, and when the region is invalidated, but not when a tag is: what
	// could not be made carries none. A Refresh takes no notice of it. 0: not at all; it
	// cannot be Never.
	FailFor time.Duration
	// Jitter makes entries expire early, by up to this fraction of Expiration,
	// drawn for each entry. From 0, for none, to less than 1. It needs an Expiration.
	Jitter float64
	// CreateTimeout is the life of one creation. 0: 30 s; Never: no limit.
	CreateTimeout time.Duration
	// LockTTL is the lease of the creation lock, renewed while the creator runs.
	// 0: 10 s; at least 10 ms, at most a day. If the creator's process dies, another
	// one follows it after this time or up to a second later; over memcached up to three
	// if stale entries are served meanwhile.
	LockTTL time.Duration
	// MaxCreators is how many creators may run at once in this process. When
	// they do, stale entries are served as they are and missing ones wait.
	// Creators that run inside others do not count. 0: no limit.
	MaxCreators int
	// BackendTimeout bounds each call of a backend that may block. 0: 2 s;
	// Never: the caller's context alone.
	BackendTimeout time.Duration

	// Prefix is put before every key, before mangling. "": the region's name and ":",
	// or nothing for a region without a name; NoPrefix: nothing. In a name, ":" and "%"
	// are written %3A and %25, so that no two regions meet under one key.
	Prefix string
	// Mangler is what is done to keys. nil: what the backend suggests.
	Mangler Mangler
	// KeyFunc is how functions make keys. nil: the built-in form, see [NewFunc].
	KeyFunc KeyFunc
	// Codec makes bytes of values, for backends that keep bytes. nil: JSON.
	Codec Codec
	// Proxies are wrapped around the backend, the first one outermost.
	Proxies []func(driver.Backend) driver.Backend

	// Invalidator decides which entries are invalid. nil: a [SharedInvalidator] where
	// the backend is shared, else a [LocalInvalidator]. A [SharedInvalidator] needs a
	// shared backend.
	Invalidator Invalidator
	// InvalidationLag is how long the version token of a [SharedInvalidator], and those of
	// tags, may be trusted without asking: an invalidation by another process may go
	// unnoticed for so long. 0: they are read with every entry. It needs a
	// [SharedInvalidator].
	InvalidationLag time.Duration

	// TagScope is the name of a set of tags: regions with the same TagScope over the same
	// backend share their tags, in all processes and whatever their Prefix and Mangler are.
	// Any string will do. "" is a scope like any other: that of all regions which name none.
	// See [Control.Tag].
	TagScope string

	// Runner runs the creations of stale entries. nil: the caller that finds an
	// entry stale creates it and gets the new value; Background: a goroutine
	// does, and that caller too gets the stale one.
	Runner func(task func())
	// Strict makes backend errors fail GetOrCreate. By default they go to
	// [Hooks.Error], and the creator runs.
	Strict bool

	// RetryDeletes is how many failed deletes and invalidations are kept and tried again, in
	// the background with growing pauses, until they are done: one for each key and each
	// tag, and one for the region. 0: none. Their errors wrap [ErrPending]. Until it is done this region
	// takes what was deleted for missing, and after a hard invalidation everything on the
	// servers that it has not reached; what is set, or has begun to be created, after a
	// delete has failed replaces what was to be deleted. Entries with a tag that was to be
	// invalidated are invalid here until it is. Other processes may read the old entries
	// until then. When there are too many the newest are kept: the oldest are given up,
	// which [Hooks.Error] is told. A call with more keys than that is not kept. What is done at last counts in [Stats]
	// and is told to [Hooks.Delete] or [Hooks.Invalidate]. What is kept is lost with the
	// process; [Region.Close] tries once more. It has no effect over a backend in the
	// memory of this process.
	RetryDeletes int

	// Near keeps copies of entries in this process, so that most hits ask nobody. nil: none.
	// It needs a backend that processes share and that tells of changes.
	Near *Near

	// Hooks are told what happens. nil: nobody is.
	Hooks *Hooks
	// Logger gets a record, at warn level, of each error that no caller gets, as
	// Hooks.Error does, and of each panic in a hook or in ShouldCache. nil: slog.Default()
	// as it is at that time; slog.New(slog.DiscardHandler): nobody does.
	//
	// A region writes one record a second, at the most, of each kind of trouble, which is a
	// step that fails and the type of the error at the bottom. The first is written at once;
	// of those that follow within a second the last is, at its end, with the number of the
	// others as left_out. Close writes what it finds. The attributes are region, name, key
	// and error, and left_out; name and key only where there is one. What RetryDeletes has
	// done at last is a record at info level. A creation that has waited for another process
	// for as long as LockTTL writes a record, at warn level, whose attribute holder tells of
	// that process what is known; it is no error, and not told to Hooks.
	Logger *slog.Logger
}

// Background is a Runner that gives each task a goroutine of its own.
func Background(task func()) { go task() }

// complete returns o with its defaults, or all that is wrong with it.
func (o *Options) complete(region string) (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if err := c.check(region); err != nil {
		return c, err
	}
	if c.Expiration == noTime && c.StaleFor == 0 {
		c.StaleFor = Never // as long again as no time at all would leave nobody anything to return
	}
	setDefault(&c.Expiration, Never)
	setDefault(&c.CreateTimeout, defaultCreateTimeout)
	setDefault(&c.LockTTL, defaultLockTTL)
	setDefault(&c.BackendTimeout, defaultBackendTimeout)
	c.Near = c.Near.complete()
	c.Prefix = c.prefix(region)
	if c.Codec == nil {
		c.Codec = JSON
	}
	hooks := new(Hooks)
	if c.Hooks != nil {
		*hooks = *c.Hooks
	}
	c.Hooks = hooks
	return c, nil
}

// optionError is a fault of one option.
type optionError struct{ name, problem string }

// Error names the option and what is wrong with it.
func (e *optionError) Error() string { return e.name + ": " + e.problem }

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// prefix returns what is put before keys.
func (o *Options) prefix(region string) string {
	switch {
	case o.Prefix == NoPrefix:
		return ""
	case o.Prefix == "" && region != "":
		return escapeName.Replace(region) + ":"
	}
	return o.Prefix
}

// escapeName keeps the regions "a" and "a:b" apart: the key "b:c" of the one would be
// the key "c" of the other.
var escapeName = strings.NewReplacer("%", "%25", ":", "%3A")

func (o *Options) check(region string) error {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, &optionError{name, fmt.Sprintf(format, args...)})
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		never bool
	}{
		{"Expiration", o.Expiration, true},
		{"StaleFor", o.StaleFor, true},
		{"StaleIfError", o.StaleIfError, true},
		{"CreateTimeout", o.CreateTimeout, true},
		{"FailFor", o.FailFor, false},
		{"LockTTL", o.LockTTL, false},
		{"BackendTimeout", o.BackendTimeout, true},
		{"InvalidationLag", o.InvalidationLag, false},
	} {
		switch {
		case d.value == Never && !d.never:
			fault(d.name, "cannot be Never")
		case d.value == noTime && (d.name == "Expiration" || d.name == "StaleFor"):
			// It comes from settings, which can say none.
		case d.value < 0 && d.value != Never:
			fault(d.name, "%v is negative", d.value)
		}
	}
	if ttl := o.LockTTL; ttl > 0 && (ttl < minLockTTL || ttl > maxLockTTL) {
		fault("LockTTL", "%v is not from %v to %v", ttl, minLockTTL, maxLockTTL)
	}
	if err := o.StaleIfError; err > 0 && (o.StaleFor > err || o.StaleFor == Never) {
		fault("StaleIfError", "%v is less than StaleFor: what may be served while it is stale may also stand in for a creator that fails", err)
	}
	if o.Jitter > 0 && o.Jitter < 1 && o.Expiration <= 0 {
		fault("Jitter", "there is no Expiration that it could shorten")
	}
	if !(o.Jitter >= 0 && o.Jitter < 1) {
		fault("Jitter", "%v is not from 0 to less than 1", o.Jitter)
	}
	if !(o.RefreshAhead >= 0 && o.RefreshAhead < 1) {
		fault("RefreshAhead", "%v is not from 0 to less than 1", o.RefreshAhead)
	}
	if o.MaxCreators < 0 {
		fault("MaxCreators", "%d is negative", o.MaxCreators)
	}
	if o.RetryDeletes < 0 {
		fault("RetryDeletes", "%d is negative", o.RetryDeletes)
	}
	o.Near.faults(fault)
	if p := o.prefix(region); reserved(p) {
		fault("Prefix", "%q begins with a word kept for locks and invalidation", p)
	}
	for i, p := range o.Proxies {
		if p == nil {
			fault("Proxies", "element %d is nil", i)
		}
	}
	return errors.Join(faults...)
}

// checkFor reports options that the backend leaves without effect.
func (o *Options) checkFor(caps driver.Caps) error {
	if caps.Discards {
		return nil // for a while nothing is cached, with the options of before and after
	}
	var faults []error
	name := caps.Name
	if name == "" {
		name = "it"
	}
	shared := caps.Shared
	switch o.Invalidator.(type) {
	case SharedInvalidator, *SharedInvalidator:
		if !caps.Shared {
			faults = append(faults, &optionError{"Invalidator", "a SharedInvalidator needs a backend that processes share, and " + name + " is none"})
		}
	case nil:
	default:
		shared = false
	}
	if o.InvalidationLag != 0 && !shared {
		faults = append(faults, &optionError{"InvalidationLag", "only a SharedInvalidator has a version token that could be trusted for a while"})
	}
	if o.Near != nil && o.Near.Exact && !shared {
		faults = append(faults, &optionError{"Near.Exact", "needs a SharedInvalidator, whose version token tells other processes the Lag"})
	}
	if o.Near != nil && o.Near.Exact && o.InvalidationLag != 0 {
		faults = append(faults, &optionError{"InvalidationLag", "would let an invalidation go unnoticed that is to be Near.Exact"})
	}
	return errors.Join(faults...)
}

// tokenWord begins the keys of the version tokens of tags.
const tokenWord = "_tag:"

// reserved reports whether a key is one of ours: locks are kept under "_lock"
// and the key, version tokens under "_inv:" and tokenWord.
func reserved(key string) bool {
	return len(key) > 0 && key[0] == '_' &&
		(strings.HasPrefix(key, "_lock") || strings.HasPrefix(key, "_inv:") || strings.HasPrefix(key, tokenWord))
}
