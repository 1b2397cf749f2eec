package dogpile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dogpile-go/dogpile/driver"
)

// Setup configures the regions of a program from settings and from code together.
// The zero value has no settings; all of its fields are only read.
type Setup struct {
	// Settings are what a file and the environment say, as config.Load and
	// config.FromEnv return it. The settings of a region are those whose keys begin
	// with Prefix, the region's name and a dot; [Region.ConfigureFrom] lists them.
	//
	// Backends that regions share are those whose keys begin with Prefix and
	// "backends.":
	//
	//	cache.backends.main             = redis://127.0.0.1:6379/0
	//	cache.backends.main.arguments.* = arguments, in addition to those in the URL
	//	cache.users.backend             = @main
	//
	// One client serves all regions that name it, each with proxies of its own. It is
	// closed when the last of them is closed or configured anew. One that no region
	// names is not opened.
	//
	// Where no key is written just so, upper and lower case are the same. Of two keys
	// that differ in case alone, the one in lower case throughout counts: the
	// environment, which has no case, can say something else than the file does.
	Settings map[string]string
	// Prefix is what the keys of Settings begin with, such as "cache.". Others are
	// left alone.
	Prefix string

	// Options are for all regions: what settings cannot say, such as hooks and the
	// logger, and defaults for what they can. A setting counts for more. nil: none.
	Options *Options
	// Regions are Options for single regions, by name. A field that is not zero counts
	// for more than that of Options, and for less than a setting.
	Regions map[string]*Options
	// Backends are shared backends that the program has opened, by the name that
	// settings know them by: "main" for @main. They stay the program's to close.
	Backends map[string]driver.Backend
}

// Configure configures regions. All faults in the settings of all of them, and
// settings below Prefix that belong to none, are reported in one error, in
// alphabetical order, each with its key. No region is configured then, and no backend
// is left open. Warnings are no faults.
func (s Setup) Configure(ctx context.Context, regions ...*Region) error {
	d, err := s.draft(regions)
	if err == nil {
		err = d.configure(ctx)
	}
	return settingsError(err)
}

// settingsError tells that err is of settings; nil stays nil.
func settingsError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("dogpile: settings: %w", err)
}

// Check returns the error that Configure would return for the regions that Settings
// name, and configures none. It opens their backends, which connects to no server, and
// closes them again. So it does not find that other processes have another [Near].
func (s Setup) Check(ctx context.Context) error {
	regions := s.named()
	d, err := s.draft(regions)
	if err == nil {
		d.offline = true
		err = d.configure(ctx)
	}
	err = settingsError(err)
	for _, r := range regions {
		err = errors.Join(err, r.Close(ctx))
	}
	return err
}

// ConfigureFrom configures the region from settings, of which it takes those
// whose keys begin with prefix. Known after it are
//
//	backend           a URL, or a scheme; what driver.Open takes. "@main" for a
//	                  backend that regions share, which needs a [Setup]
//	arguments.*       arguments of the backend, in addition to those in the URL
//	expiration, stale_for, stale_if_error, create_timeout, lock_ttl,
//	backend_timeout, invalidation_lag, fail_for
//	                  a duration like "1m30s" or "1d12h", or a number of seconds;
//	                  "never" or -1 for Never. expiration_time is dogpile.cache's
//	                  name for expiration
//	jitter, refresh_ahead
//	                  a fraction
//	max_creators, retry_deletes
//	                  a whole number
//	prefix            "none" for NoPrefix
//	mangler, codec, invalidator
//	                  a registered name
//	proxies           registered names with commas between, outermost first
//	runner            "background", or "none"
//	strict, replace_existing_backend
//	                  true or false; the latter makes it a Reconfigure
//
//	near              true or false: keep copies, see [Near]; near.max_entries,
//	                  near.max_bytes, near.lag and near.exact say so too
//
// and every other field of [Options] that is a duration, a number, a truth value or a
// text, in snake case.
//
// A time of 0 means none at all, as it does in dogpile.cache, and not a default as in
// Options: with an expiration of 0 each entry is stale from the beginning, and stays
// usable for as long as another one is being made; with a stale_for of 0 no entry is
// returned past its expiration. For all other durations the two are the same.
//
// The value "None" stands for one that is not set. All unknown keys, unknown
// arguments and values that cannot be read are reported in one error, and
// nothing is configured then. The region closes the backend that it opened when it is
// closed, or has been configured anew and the last call that uses it is over.
func (r *Region) ConfigureFrom(ctx context.Context, settings map[string]string, prefix string) error {
	d := newDraft(Setup{Settings: settings, Prefix: prefix}, []*part{{region: r, prefix: prefix}})
	return settingsError(d.configure(ctx))
}

// ConfigureAll configures each region from the settings whose keys begin with
// prefix, the region's name and a dot, as ConfigureFrom does: it is a [Setup] of
// settings alone.
func ConfigureAll(ctx context.Context, settings map[string]string, prefix string, regions ...*Region) error {
	return Setup{Settings: settings, Prefix: prefix}.Configure(ctx, regions...)
}

// draft returns what the settings say of regions, or what is wrong with these.
func (s Setup) draft(regions []*Region) (*draft, error) {
	var errs []error
	var parts []*part
	for i, r := range regions {
		if r == nil {
			errs = append(errs, fmt.Errorf("region %d of %d is nil", i+1, len(regions)))
			continue
		}
		switch {
		case r.name == "" || slices.ContainsFunc(parts, func(p *part) bool { return p.region.name == r.name }):
			errs = append(errs, fmt.Errorf("region %q: settings need regions with names that differ", r.name))
		case strings.EqualFold(r.name+".", sharedPrefix):
			errs = append(errs, fmt.Errorf("region %q: in settings the name stands for the backends that regions share", r.name))
		}
		parts = append(parts, &part{region: r, prefix: s.Prefix + r.name + "."})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return newDraft(s, parts), nil
}

// configure opens the backends and puts everything in force, or returns all that is
// wrong.
func (d *draft) configure(ctx context.Context) error {
	var plans []*plan
	for _, p := range d.parts {
		if plan := d.plan(ctx, p); plan != nil {
			plans = append(plans, plan)
			if !d.offline {
				p.optionFaults(plan.state.checkLag(ctx))
			}
		}
	}
	for _, p := range d.parts {
		p.unknown()
		d.faults = append(d.faults, p.faults...)
	}
	if len(d.faults) == 0 {
		err := commit(plans)
		if err == nil {
			for _, p := range plans {
				if !d.offline {
					p.state.tell(ctx)
				}
			}
			return nil
		}
		d.faults = append(d.faults, err)
	}
	slices.SortStableFunc(d.faults, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	errs := d.faults
	for _, src := range d.sources {
		if src.opened != nil {
			errs = append(errs, driver.Close(src.opened.Backend))
		}
	}
	return errors.Join(errs...)
}

// plan reads the settings of one region and opens its backend. It returns nil if
// anything is wrong with them, which p.faults or d.faults tell of.
func (d *draft) plan(ctx context.Context, p *part) *plan {
	before := len(d.faults)
	o := d.options(p)
	replace := p.boolean("replace_existing_backend")
	src := d.source(p)
	b := d.open(ctx, src)
	p.optionFaults(o.check(p.region.name))
	if err := p.region.accepts(replace); err == ErrConfigured {
		d.fault(fmt.Errorf("region %q: %w, and so does %s = true", p.region.name, err, p.key("replace_existing_backend")))
	} else if err != nil {
		d.fault(fmt.Errorf("region %q: %w", p.region.name, err))
	}
	if b == nil || len(p.faults) > 0 || len(d.faults) > before {
		return nil
	}
	s, err := newState(p.region, b, o)
	if err != nil {
		p.optionFaults(err)
		return nil
	}
	if src.opened != nil {
		s.usage = newUsage(src.opened)
	}
	return &plan{region: p.region, state: s, replace: replace}
}
