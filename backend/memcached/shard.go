package memcached

// Shard returns the address of the server that has key, as Open or New were told
// it, with its port: "10.0.0.1:11211" or "unix:/path". It is "" where there is one
// server. With PythonLock or the binary protocol the lease on key may be on
// another server.
func (b *Backend) Shard(key string) string {
	if len(b.core.servers) == 1 {
		return ""
	}
	return b.core.at(key).addr
}
