package dogpile

// NoTime is what settings make of a time of 0 where 0 stands for a default in Options.
const NoTime = noTime

// OptionsOf returns the options in force, with their defaults.
func OptionsOf(r *Region) Options { return r.current.Load().o }

// Snake returns the setting of a field of Options.
func Snake(field string) string { return snake(field) }

// EntersLate reports whether a call is let into the configuration that was in force
// before replace was called.
func EntersLate(r *Region, replace func()) bool {
	s := r.current.Load()
	replace()
	return s.usage.enter()
}
