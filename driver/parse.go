package driver

// ParseArgs takes rawURL apart, for the Open function of a backend's package.
// Its errors begin with "dogpile: " and show the scheme of the URL alone.
func ParseArgs(rawURL string) (*Args, error) { return parseArgs(rawURL, nil) }
