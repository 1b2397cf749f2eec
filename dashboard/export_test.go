package dashboard

// HoldNames keeps everybody from the lock under which names of regions are added, until release is
// called.
func (d *Dashboard) HoldNames() (release func()) {
	d.told.mu.Lock()
	return d.told.mu.Unlock
}
