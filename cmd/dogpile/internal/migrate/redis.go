package migrate

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// redis converts what Redis, Valkey, Sentinel and Cluster have.
func (r *region) redis(kind string) {
	r.unite()
	u := url.URL{Scheme: "redis"}
	secure := r.takeTrue("arguments.ssl")
	switch {
	case strings.HasSuffix(kind, "_sentinel"):
		u.Scheme, u.Host = "redis+sentinel", strings.Join(r.takeList("arguments.sentinels"), ",")
		service, _ := r.take("arguments.service_name")
		u.Path = "/" + first(service, "mymaster")
		r.sentinelLogin()
	case strings.HasSuffix(kind, "_cluster"):
		u.Scheme, u.Host = "redis+cluster", strings.Join(r.takeList("arguments.startup_nodes"), ",")
		r.fromURL(&u)
	default:
		u.Host = "localhost"
		host, _ := r.take("arguments.host")
		port, _ := r.take("arguments.port")
		if host != "" || port != "" {
			u.Host = net.JoinHostPort(first(host, "localhost"), first(port, "6379"))
		}
		secure = r.fromURL(&u) || secure
	}
	if u.Host == "" && u.Path == "" {
		u.Host = "localhost"
	}
	if db, given := r.take("arguments.db"); given && db != "0" && u.Scheme != "redis+cluster" {
		if u.Scheme == "redis+unix" {
			u.RawQuery = "db=" + db
		} else {
			u.Path = strings.TrimSuffix(u.Path, "/") + "/" + db
		}
	}
	if secure {
		u.Scheme = strings.Replace(u.Scheme, "redis", "rediss", 1)
	}
	r.set("backend", quote(strings.ReplaceAll(u.String(), "%2C", ",")))
	keep, _ := r.number("arguments.redis_expiration_time")
	if more, given := r.number("arguments.valkey_expiration_time"); given {
		keep = more
	}
	r.expires(keep)
	r.shared()
	r.login()
	r.redisTimes()
	r.redisTLS(secure)
	r.redisDrops()
}

// unite takes what stands in connection_kwargs for what stands outside.
func (r *region) unite() {
	for _, option := range []string{
		"username", "password", "db", "socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options", "client_name",
		"ssl", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "retry_on_timeout", "health_check_interval", "max_connections",
	} {
		name, outside := "arguments.connection_kwargs."+option, "arguments."+option
		if v, given := r.values[name]; given && r.values[outside].text == "" {
			r.values[outside] = v
			delete(r.values, name)
		}
	}
}

// fromURL takes "url", which counts for more than host, port and db, and reports whether it asks
// for TLS.
func (r *region) fromURL(u *url.URL) (secure bool) {
	text, given := r.take("arguments.url")
	if !given {
		return false
	}
	parsed, err := url.Parse(text)
	if err != nil {
		r.lose("arguments.url", "is no URL") // the error would show it
		return false
	}
	switch parsed.Scheme {
	case "unix":
		u.Scheme, u.Host, u.Path = "redis+unix", "", parsed.Path
	case "redis", "rediss", "valkey", "valkeys":
		u.Host = parsed.Host
		if path := strings.Trim(parsed.Path, "/"); path != "" && u.Scheme == "redis" {
			u.Path = "/" + path
			delete(r.values, "arguments.db")
		}
	default:
		r.lose("arguments.url", fmt.Sprintf("its scheme %q is not known", parsed.Scheme))
		return false
	}
	if parsed.User != nil {
		if name := parsed.User.Username(); name != "" {
			r.values["arguments.username"] = value{text: name}
		}
		if password, is := parsed.User.Password(); is {
			r.values["arguments.password"] = value{text: password}
		}
	}
	for name, values := range parsed.Query() {
		r.values["arguments."+name] = value{text: values[0]}
	}
	if db, given := r.values["arguments.db"]; given && u.Scheme == "redis" && u.Path != "" && db.text != "" {
		delete(r.values, "arguments.db")
	}
	return parsed.Scheme == "rediss" || parsed.Scheme == "valkeys"
}

// login writes the user, and tells of a password.
func (r *region) login() {
	if name, given := r.take("arguments.username"); given {
		r.set("arguments.username", quote(name))
	}
	r.secret("arguments.password", "arguments.password")
}

func (r *region) sentinelLogin() {
	const kwargs = "arguments.sentinel_kwargs."
	if name, given := r.take(kwargs + "username"); given {
		r.set("arguments.sentinel_username", quote(name))
	}
	if _, own := r.values[kwargs+"password"]; !own && r.values["arguments.password"].text != "" {
		r.note("arguments.password", "Python shows it to the sentinels too, and here arguments.sentinel_password is shown alone")
	}
	r.secret(kwargs+"password", "arguments.sentinel_password")
}

func (r *region) redisTimes() {
	for _, t := range []struct{ name, here string }{
		{"socket_timeout", "timeout"}, {"socket_connect_timeout", "connect_timeout"}, {"connect_timeout", "connect_timeout"},
	} {
		if seconds, given := r.number("arguments." + t.name); given && seconds > 0 {
			r.set("arguments."+t.here, decimal(seconds))
		}
	}
	for _, name := range []string{"client_name", "lock_prefix"} {
		if text, given := r.take("arguments." + name); given {
			r.set("arguments."+name, quote(text))
		}
	}
}

func (r *region) redisTLS(secure bool) {
	for _, f := range []struct{ name, here string }{{"ssl_ca_certs", "ca_file"}, {"ssl_certfile", "cert_file"}, {"ssl_keyfile", "key_file"}} {
		if path, given := r.take("arguments." + f.name); given && secure {
			r.set("arguments."+f.here, quote(path))
		}
	}
	if reqs, given := r.take("arguments.ssl_cert_reqs"); given && secure && strings.EqualFold(reqs, "none") {
		r.set("arguments.insecure", "true")
	}
	if _, given := r.values["arguments.ssl_check_hostname"]; given && !r.takeTrue("arguments.ssl_check_hostname") && secure {
		r.lose("arguments.ssl_check_hostname", "the name in the certificate is checked, always; arguments.server_name says which it has")
	}
}

func (r *region) redisDrops() {
	for _, name := range []string{"socket_keepalive", "socket_keepalive_options"} {
		r.drop("arguments."+name, "connections are kept alive, always")
	}
	for _, name := range []string{"retry_on_timeout", "health_check_interval", "max_connections"} {
		r.drop("arguments."+name, "commands share a few connections, which are made anew when they fail")
	}
	r.drop("arguments.thread_local_lock", "locks belong to a creation and not to a thread")
	r.drop("arguments.lock_sleep", "the server tells those who wait")
	for _, name := range []string{"lock_blocking", "lock_blocking_timeout"} {
		if _, given := r.take("arguments." + name); given {
			r.lose("arguments."+name, "create_timeout, or the deadline of the caller, ends waiting here")
		}
	}
	if _, given := r.take("arguments.connection_pool"); given {
		r.lose("arguments.connection_pool", "regions share a client if they share a backend: cache.backends.main = \"redis://…\", and backend = \"@main\" in each")
	}
}
