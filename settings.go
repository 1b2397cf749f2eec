package dogpile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dogpile-go/dogpile/driver"
)

var (
	invalidators = registry[func() Invalidator]{kind: "invalidator", m: map[string]func() Invalidator{
		"local":  func() Invalidator { return new(LocalInvalidator) },
		"shared": func() Invalidator { return new(SharedInvalidator) },
	}}
	proxies = registry[func(driver.Backend) driver.Backend]{kind: "proxy", m: map[string]func(driver.Backend) driver.Backend{}}
)

// RegisterInvalidator lets settings name an invalidator; each region that does
// gets one of its own from make. "local" and "shared" are known. It panics on
// nil and on a name that is taken.
func RegisterInvalidator(name string, make func() Invalidator) {
	invalidators.add(name, make, make == nil)
}

// RegisterProxy lets settings name a proxy. It panics on nil and on a name that
// is taken.
func RegisterProxy(name string, wrap func(driver.Backend) driver.Backend) {
	proxies.add(name, wrap, wrap == nil)
}

// ConfigureFrom configures the region from settings, of which it takes those
// whose keys begin with prefix. Known after it are
//
//	backend           a URL, or a scheme; what driver.Open takes
//	arguments.*       arguments of the backend, in addition to those in the URL
//	expiration, stale_for, stale_if_error, create_timeout, lock_ttl,
//	backend_timeout, invalidation_lag, fail_for
//	                  a duration like "1m30s", or a number of seconds; "never"
//	                  or -1 for Never. expiration_time is dogpile.cache's name
//	                  for expiration
//	jitter, refresh_ahead
//	                  a fraction
//	max_creators      a whole number
//	prefix            "none" for NoPrefix
//	mangler, codec, invalidator
//	                  a registered name
//	proxies           registered names with commas between, outermost first
//	runner            "background", or "none"
//	strict, replace_existing_backend
//	                  true or false; the latter makes it a Reconfigure
//
// The value "None" stands for one that is not set. All unknown keys, unknown
// arguments and values that cannot be read are reported in one error, and
// nothing is configured then. The region closes the backend that it opened.
func (r *Region) ConfigureFrom(ctx context.Context, settings map[string]string, prefix string) error {
	p, err := r.plan(ctx, settings, prefix, nil)
	if err == nil {
		if err = commit([]*plan{p}); err != nil {
			err = errors.Join(fmt.Errorf("configure region %q: %w", r.name, err), driver.Close(p.opened))
		}
	}
	if err != nil {
		return fmt.Errorf("dogpile: settings: %w", err)
	}
	return nil
}

// ConfigureAll configures each region from the settings whose keys begin with
// prefix, the region's name and a dot, as ConfigureFrom does. All faults in all
// of them, and settings below prefix that belong to none of the regions, are
// reported in one error, and no region is configured then.
func ConfigureAll(ctx context.Context, settings map[string]string, prefix string, regions ...*Region) error {
	var errs []error
	var plans []*plan
	var known []string
	for i, r := range regions {
		if r == nil {
			errs = append(errs, fmt.Errorf("region %d of %d is nil", i+1, len(regions)))
			continue
		}
		own := prefix + r.name + "."
		if r.name == "" || slices.Contains(known, own) {
			errs = append(errs, fmt.Errorf("region %q: settings need regions with names that differ", r.name))
		}
		known = append(known, own)
	}
	if len(errs) > 0 {
		return fmt.Errorf("dogpile: settings: %w", errors.Join(errs...))
	}
	for i, r := range regions {
		p, err := r.plan(ctx, settings, known[i], known)
		if err == nil {
			plans = append(plans, p)
			err = r.accepts(p.replace)
			if err != nil {
				err = fmt.Errorf("region %q: %w", r.name, err)
			}
		}
		errs = append(errs, err)
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if strings.HasPrefix(key, prefix) && owner(known, key) == "" {
			errs = append(errs, fmt.Errorf("%s: belongs to no region", key))
		}
	}
	err := errors.Join(errs...)
	if err == nil {
		err = commit(plans)
	}
	if err == nil {
		return nil
	}
	for _, p := range plans {
		err = errors.Join(err, driver.Close(p.opened))
	}
	return fmt.Errorf("dogpile: settings: %w", err)
}

// owner returns the longest of prefixes that key begins with, or "".
func owner(prefixes []string, key string) (longest string) {
	for _, p := range prefixes {
		if strings.HasPrefix(key, p) && len(p) > len(longest) {
			longest = p
		}
	}
	return longest
}

// plan reads the settings and opens the backend, or returns all that is wrong.
// known are the prefixes of all regions, if there are several.
func (r *Region) plan(ctx context.Context, settings map[string]string, prefix string, known []string) (*plan, error) {
	p := &parser{prefix: prefix, values: map[string]string{}, arguments: map[string]string{}}
	for key, value := range settings {
		name, ours := strings.CutPrefix(key, prefix)
		if !ours || known != nil && owner(known, key) != prefix {
			continue
		}
		if arg, is := strings.CutPrefix(name, "arguments."); is {
			p.arguments[arg] = value
		} else if value = strings.TrimSpace(value); value != "None" {
			p.values[name] = value
		} else {
			p.values[name] = ""
		}
	}
	o := p.options()
	url, replace := p.take("backend"), p.boolean("replace_existing_backend")
	p.unknown()
	var opened driver.Backend
	if url == "" {
		p.fault("backend", errors.New("is missing"))
	} else {
		b, err := driver.OpenWith(ctx, url, p.arguments)
		p.openFault(err)
		opened = b
	}
	p.optionFaults(o.check(r.name))
	var s *state
	if len(p.faults) == 0 {
		var err error
		s, err = newState(r, opened, o)
		p.optionFaults(err)
	}
	if len(p.faults) > 0 {
		slices.SortFunc(p.faults, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errors.Join(p.faults...), driver.Close(opened))
	}
	return &plan{region: r, state: s, replace: replace, opened: opened}, nil
}

// parser takes settings one by one and notes what is wrong.
type parser struct {
	prefix    string
	values    map[string]string
	arguments map[string]string
	faults    []error
}

func (p *parser) fault(name string, err error) {
	p.faults = append(p.faults, fmt.Errorf("%s%s: %w", p.prefix, name, err))
}

// openFault notes what a backend says of its arguments, each under its key.
func (p *parser) openFault(err error) {
	var arg *driver.ArgError
	joined, _ := innermost(err).(interface{ Unwrap() []error })
	switch {
	case err == nil:
	case joined == nil || !errors.As(err, &arg):
		p.fault("backend", err)
	default:
		for _, e := range joined.Unwrap() {
			name := "backend"
			if errors.As(e, &arg) {
				if _, separate := p.arguments[arg.Name]; separate {
					name = "arguments." + arg.Name
				}
			}
			p.fault(name, e)
		}
	}
}

// optionFaults notes what is wrong with options, each under its key.
func (p *parser) optionFaults(err error) {
	if err == nil {
		return
	}
	faults := []error{err}
	if joined, is := err.(interface{ Unwrap() []error }); is {
		faults = joined.Unwrap()
	}
	for _, err := range faults {
		if oe, is := err.(*optionError); is {
			p.fault(snake(oe.name), errors.New(oe.problem))
		} else {
			p.fault("backend", err)
		}
	}
}

// snake returns the name of an option as settings write it.
func snake(name string) string {
	var b strings.Builder
	for i, c := range name {
		if i > 0 && unicode.IsUpper(c) && unicode.IsLower(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// innermost follows single causes down to the last one.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

func (p *parser) take(name string) string {
	v := p.values[name]
	delete(p.values, name)
	return v
}

func (p *parser) unknown() {
	for name := range p.values {
		p.fault(name, errors.New("is unknown"))
	}
}

func (p *parser) duration(d *time.Duration, names ...string) {
	given := ""
	for _, name := range names {
		_, is := p.values[name]
		v := p.take(name)
		switch {
		case !is || v == "":
			continue
		case given != "":
			p.fault(name, fmt.Errorf("is given twice, as %s too", given))
			continue
		}
		given = name
		parsed, err := driver.ParseDuration(v)
		if err != nil {
			p.fault(name, err)
		}
		*d = parsed
	}
}

func (p *parser) fraction(f *float64, name string) {
	v := p.take(name)
	if v == "" {
		return
	}
	parsed, err := strconv.ParseFloat(v, 64)
	if err != nil {
		p.fault(name, errors.New("is not a number"))
	}
	*f = parsed
}

func (p *parser) boolean(name string) bool {
	switch v := strings.ToLower(p.take(name)); v {
	case "true", "1":
		return true
	case "", "false", "0":
	default:
		p.fault(name, errors.New("is neither true nor false"))
	}
	return false
}

// named looks a value up in a registry.
func named[T any](p *parser, key string, find func(string) (T, error)) (v T) {
	name := p.take(key)
	if name == "" {
		return v
	}
	v, err := find(name)
	if err != nil {
		p.fault(key, err)
	}
	return v
}

func (p *parser) options() *Options {
	o := new(Options)
	p.duration(&o.Expiration, "expiration", "expiration_time")
	p.duration(&o.StaleFor, "stale_for")
	p.duration(&o.StaleIfError, "stale_if_error")
	p.duration(&o.CreateTimeout, "create_timeout")
	p.duration(&o.LockTTL, "lock_ttl")
	p.duration(&o.BackendTimeout, "backend_timeout")
	p.duration(&o.InvalidationLag, "invalidation_lag")
	p.duration(&o.FailFor, "fail_for")
	p.fraction(&o.Jitter, "jitter")
	p.fraction(&o.RefreshAhead, "refresh_ahead")
	if v := p.take("max_creators"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			p.fault("max_creators", errors.New("is not a whole number"))
		}
		o.MaxCreators = n
	}
	if o.Prefix = p.take("prefix"); o.Prefix == "none" {
		o.Prefix = NoPrefix
	}
	o.Mangler = named(p, "mangler", manglerNamed)
	o.Codec = named(p, "codec", codecNamed)
	if make := named(p, "invalidator", invalidators.named); make != nil {
		o.Invalidator = make()
	}
	for name := range strings.SplitSeq(p.take("proxies"), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		proxy, err := proxies.named(name)
		if err != nil {
			p.fault("proxies", err)
			continue
		}
		o.Proxies = append(o.Proxies, proxy)
	}
	switch p.take("runner") {
	case "", "none":
	case "background":
		o.Runner = Background
	default:
		p.fault("runner", errors.New("is neither background nor none"))
	}
	o.Strict = p.boolean("strict")
	return o
}
