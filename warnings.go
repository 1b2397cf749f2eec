package dogpile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Warnings returns what is legal in the settings of all regions that they name, and in
// the options for these, but seldom meant: one sentence each, with the keys that it is
// about, in alphabetical order; nil if there is nothing. It opens no backend. Of settings
// that are at fault it says nothing: Configure does.
func (s Setup) Warnings() []string {
	d, err := s.draft(s.named())
	if err != nil {
		return nil
	}
	var w warnings
	for _, name := range slices.Sorted(maps.Keys(s.Regions)) {
		if !slices.ContainsFunc(d.parts, func(p *part) bool { return p.region.name == name }) {
			w.add("Setup.Regions %q: the settings have no region of this name", name)
		}
	}
	used := map[*source]bool{}
	var stores []store
	for _, p := range d.parts {
		o := d.options(p)
		src := d.source(p)
		used[src] = true
		if len(p.faults) > 0 || o.check(p.region.name) != nil {
			continue
		}
		w.odd(p, o)
		stores = append(stores, store{p, src.place(), o.prefix(p.region.name), o.Prefix != ""})
	}
	for _, src := range d.shared {
		if !used[src] && (src.given != nil || src.url != "") {
			w.add("%s: no region uses this backend", src.title(s))
		}
	}
	w.meeting(stores)
	slices.Sort(w)
	return w
}

type warnings []string

func (w *warnings) add(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) }

// odd warns of options that have no effect, or hardly the one that they are for.
func (w *warnings) odd(p *part, o *Options) {
	warn := func(option, format string, args ...any) {
		w.add("%s: %s", p.key(snake(option)), fmt.Sprintf(format, args...))
	}
	c, err := o.complete(p.region.name)
	if err != nil {
		return
	}
	switch {
	case c.Expiration == noTime:
		warn("Expiration", "each call creates, as every entry is stale from the beginning; without this setting entries never expire")
	case c.Expiration == Never && o.StaleFor != 0:
		warn("StaleFor", "it has no effect where a cache has no expiration, as the region has none")
	}
	if c.Expiration == Never && o.StaleIfError != 0 {
		warn("StaleIfError", "it has no effect where a cache has no expiration, as the region has none")
	}
	if c.Expiration == Never && o.RefreshAhead != 0 {
		warn("RefreshAhead", "it has no effect where a cache has no expiration, as the region has none")
	}
	if c.Expiration > 0 && c.InvalidationLag > c.Expiration {
		warn("InvalidationLag", "entries expire after %v, before an invalidation is noticed everywhere after %v", c.Expiration, c.InvalidationLag)
	}
	if o.LockTTL != 0 && c.CreateTimeout > 0 && c.LockTTL > c.CreateTimeout {
		warn("LockTTL", "if a creator's process dies others wait for %v, longer than a creation may take, %v", c.LockTTL, c.CreateTimeout)
	}
	if c.CreateTimeout > 0 && (c.BackendTimeout < 0 || c.BackendTimeout >= c.CreateTimeout) {
		timeout := "no limit"
		if c.BackendTimeout > 0 {
			timeout = c.BackendTimeout.String()
		}
		option := "BackendTimeout"
		if o.BackendTimeout == 0 {
			option = "CreateTimeout"
		}
		warn(option, "a backend that hangs uses up all the time of a creation: backend_timeout is %s, create_timeout %v", timeout, c.CreateTimeout)
	}
}

// store is where the entries of a region are.
type store struct {
	part     *part
	place    string // the same for regions that see each other's entries; "": unknown
	prefix   string
	explicit bool
}

// meeting warns of regions that could know different entries by one key.
func (w *warnings) meeting(stores []store) {
	for i, a := range stores {
		for _, b := range stores[i+1:] {
			if a.place == "" || a.place != b.place || !a.explicit && !b.explicit {
				continue
			}
			if len(a.prefix) > len(b.prefix) {
				a, b = b, a
			}
			if !strings.HasPrefix(b.prefix, a.prefix) {
				continue
			}
			said := b
			if !b.explicit {
				said = a
			}
			w.add("%s: a key of region %q can be one of region %q, as its prefix %q begins with %q and both are over one backend",
				said.part.key("prefix"), b.part.region.name, a.part.region.name, b.prefix, a.prefix)
		}
	}
}

// place returns a text that two backends have in common if they keep the same entries.
// It is "" for one in the memory of the process, of which each region has its own.
func (src *source) place() string {
	if src.name != "" {
		return "@" + strings.ToLower(src.name)
	}
	scheme, rest, _ := strings.Cut(src.url, "://")
	where, _, _ := strings.Cut(rest, "?")
	where = where[strings.LastIndexByte(where, '@')+1:] // the same server for every user
	path := src.arguments["path"].value
	if where == "" && path == "" {
		return ""
	}
	return strings.Join([]string{scheme, where, path, src.arguments["db"].value}, "\n")
}

// title names a shared backend.
func (src *source) title(s Setup) string {
	if src.given != nil {
		return fmt.Sprintf("Setup.Backends %q", src.name)
	}
	return s.Prefix + sharedPrefix + src.name
}

// named returns an unconfigured region for each that the settings name.
func (s Setup) named() []*Region {
	names := map[string]string{} // by name in lower case
	for _, key := range slices.Sorted(maps.Keys(s.Settings)) {
		if !hasPrefix(key, s.Prefix) || hasPrefix(key, s.Prefix+sharedPrefix) {
			continue
		}
		name := regionIn(key[len(s.Prefix):])
		if name == "" {
			continue // Configure says that it belongs to no region
		}
		// In alphabetical order capitals come first, and what is in lower case may have
		// come from the environment.
		if fold := strings.ToLower(name); names[fold] == "" {
			names[fold] = name
		}
	}
	// The environment has no case, and the program's own spelling is the region's.
	for name := range s.Regions {
		if fold := strings.ToLower(name); names[fold] != "" {
			names[fold] = name
		}
	}
	var regions []*Region
	for _, fold := range slices.Sorted(maps.Keys(names)) {
		regions = append(regions, NewRegion(names[fold]))
	}
	return regions
}

// regionIn returns the name of the region in what follows the prefix of the settings, such as
// "users.arguments.db" or "users.near.lag"; "": there is none.
func regionIn(rest string) string {
	if name, _, is := cutArguments(rest); is {
		return name
	}
	for _, setting := range nearSettings {
		if end := len(rest) - len(setting) - 1; end > 0 && strings.EqualFold(rest[end:], "."+setting) {
			return rest[:end]
		}
	}
	return rest[:max(strings.LastIndexByte(rest, '.'), 0)]
}
