package dogpile

// OptionsOf returns the options in force, with their defaults.
func OptionsOf(r *Region) Options { return r.current.Load().o }
