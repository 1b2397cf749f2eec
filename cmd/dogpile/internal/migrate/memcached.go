package migrate

import (
	"strings"
)

// memcached converts what the four clients of memcached have.
func (r *region) memcached(kind string) {
	servers := r.takeList("arguments.url")
	if len(servers) == 0 {
		servers = []string{"localhost"}
	}
	scheme := "memcached"
	if _, given := r.values["arguments.tls_context"]; given {
		delete(r.values, "arguments.tls_context")
		scheme = "memcacheds"
		r.lose("arguments.tls_context", "is TLS, for which arguments.ca_file, cert_file and key_file name the files")
	}
	path, unix := strings.CutPrefix(strings.TrimPrefix(servers[0], "unix:"), "/")
	switch {
	case unix && len(servers) == 1:
		r.set("backend", quote("memcached+unix:///"+path))
	default:
		r.set("backend", quote(scheme+"://"+strings.Join(servers, ",")))
	}
	keep, _ := r.number("arguments.memcached_expire_time")
	r.expires(keep)
	r.shared()
	r.hash(kind, len(servers))
	r.memcachedLogin()
	r.memcachedTimes(kind)
	r.memcachedDrops()
	if kind == "bmemcached" {
		r.lose("backend", "bmemcached marks values in a way that no other client reads: entries are not shared with it")
	}
}

// hash says how keys are spread, where there are several servers.
func (r *region) hash(kind string, servers int) {
	const behaviors = "arguments.behaviors."
	hash := map[string]string{"memcached": "crc32", "pymemcache": "rendezvous", "pylibmc": "modula"}[kind]
	distribution, _ := r.take(behaviors + "distribution")
	ketama, weighted := r.takeTrue(behaviors+"ketama"), r.takeTrue(behaviors+"ketama_weighted")
	switch {
	case kind != "pylibmc":
	case weighted:
		hash = "ketama_weighted"
	case ketama || strings.HasPrefix(distribution, "consistent"):
		hash = "ketama"
	}
	switch {
	case servers < 2:
	case hash == "":
		r.lose("arguments.url", "bmemcached spreads keys over several servers in a way that has no counterpart")
	default:
		r.set("arguments.hash", quote(hash))
	}
}

func (r *region) memcachedLogin() {
	name, given := r.take("arguments.username")
	if given {
		r.set("arguments.username", quote(name))
		r.set("arguments.protocol", quote("binary")+" # for servers that were started with -S")
	}
	r.secret("arguments.password", "arguments.password")
	if !given {
		r.set("arguments.python_lock", "true # for as long as Python programs use the servers; without, leases are stronger")
	}
	r.drop("arguments.binary", "the meta protocol does what it is for")
}

func (r *region) memcachedTimes(kind string) {
	set := func(here string, seconds float64) { r.set("arguments."+here, decimal(seconds)) }
	if seconds, given := r.number("arguments.socket_timeout"); given && seconds > 0 {
		set("timeout", seconds)
		set("connect_timeout", seconds)
	}
	if ms, given := r.number("arguments.behaviors.connect_timeout"); given && ms > 0 {
		set("connect_timeout", ms/1e3)
	}
	receive, given := r.number("arguments.behaviors.receive_timeout")
	if send, is := r.number("arguments.behaviors.send_timeout"); is {
		receive, given = max(receive, send), true
	}
	if given && receive > 0 {
		set("timeout", receive/1e6)
	}
	var cooldown float64
	for _, name := range []string{"dead_retry", "dead_timeout", "hashclient_dead_timeout", "hashclient_retry_timeout", "behaviors.retry_timeout", "behaviors.dead_timeout"} {
		if seconds, given := r.number("arguments." + name); given {
			cooldown = max(cooldown, seconds)
		}
	}
	if cooldown > 0 {
		set("breaker_cooldown", cooldown)
	}
	if attempts, given := r.number("arguments.hashclient_retry_attempts"); given && attempts >= 1 && kind == "pymemcache" {
		set("breaker_failures", attempts)
	}
}

func (r *region) memcachedDrops() {
	for _, name := range []string{"tcp_nodelay", "tcp_keepalive", "no_block", "cas", "verify_keys", "buffer_requests", "pickle_protocol", "_noreply", "_poll_timeout"} {
		r.drop("arguments.behaviors."+name, "commands of all callers share connections, and each is answered")
	}
	for _, name := range []string{"remove_failed", "auto_eject", "failure_limit"} {
		if _, given := r.take("arguments.behaviors." + name); given {
			r.lose("arguments.behaviors."+name, "no key moves to another server: one that comes back has old values")
		}
	}
	for _, name := range []string{"socket_keepalive", "default_noreply", "enable_retry_client", "retry_attempts", "retry_delay", "retry_for", "do_not_retry_for"} {
		r.drop("arguments."+name, "values are created when a server fails, and each command is answered")
	}
	if _, given := r.take("arguments.min_compress_len"); given {
		r.lose("arguments.min_compress_len", "proxies = \"compress\" compresses, in a way that Python does not read: set it once no Python program uses the servers")
	}
	if _, given := r.take("arguments.serde"); given {
		r.lose("arguments.serde", "codec says how values are written, and JSON is what both read")
	}
}
