package driver

// ParseArgs takes rawURL apart, for a backend's own Open function. Its errors
// never show a value of the URL.
func ParseArgs(rawURL string) (*Args, error) { return parseArgs(rawURL, nil) }
