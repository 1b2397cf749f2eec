package flight

// Waiting returns what is known of creations of t that wait for others, and of their locks.
func (t *Table) Waiting() (n int) {
	circles.mu.Lock()
	defer circles.mu.Unlock()
	for g := range circles.waits {
		if g.table == t {
			n++
		}
	}
	for _, f := range circles.locks {
		if f.table == t {
			n++
		}
	}
	return n
}
