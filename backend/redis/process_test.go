package redis_test

// play is what a process does that a test has started of this binary.
func play(role string) int {
	return 2
}
