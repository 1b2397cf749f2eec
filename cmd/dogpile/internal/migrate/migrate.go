package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Result is what settings have become.
type Result struct {
	TOML string
	// Lost is what could not be carried over, with its key: a sentence each, which is in TOML
	// as a comment too.
	Lost []string
}

// Convert turns settings into those of regions. prefix is what the keys begin with, before the
// name of a region, and unnamed the name of a region whose keys have none.
func Convert(settings Settings, prefix, unnamed string) (*Result, error) {
	settings = below(settings, prefix)
	names := regionNames(settings)
	if len(names) == 0 {
		return nil, fmt.Errorf("no backend of dogpile.cache is set under a key that begins with %q; --prefix says with what they do", prefix)
	}
	result := &Result{}
	var b strings.Builder
	b.WriteString(header)
	for _, name := range names {
		r := &region{key: prefix + name, name: name, values: make(Settings)}
		if r.title = name; name == "" {
			r.title = unnamed
		} else {
			r.key += "."
		}
		for key, v := range settings {
			if owner(names, key) == name {
				r.values[strings.TrimPrefix(strings.TrimPrefix(key, name), ".")] = v
			}
		}
		if strings.EqualFold(r.title, "backends") {
			r.title += "_"
			r.lose("backend", "the name of the region stands for the backends that regions share here; it has become "+r.title)
		}
		r.convert()
		r.write(&b)
		result.Lost = append(result.Lost, r.lost...)
	}
	result.TOML = b.String()
	return result, nil
}

const header = `# Made by "dogpile migrate" of settings of Python's dogpile.cache.
#
# For both to read each other's entries, Python has to write JSON:
#   make_region(serializer=lambda v: json.dumps(v).encode(), deserializer=json.loads)
# Where a server failed, Python's callers got its error. Here values are created, and
# strict = true is Python's way.
`

// below returns the settings whose keys begin with prefix, without it. What precedes it in an
// environment variable, as "app_", is cut off too.
func below(settings Settings, prefix string) Settings {
	out := make(Settings)
	for key, v := range settings {
		if rest, is := strings.CutPrefix(key, prefix); is {
			out[rest] = v
		} else if before, rest, is := strings.Cut(key, "_"+prefix); is && !strings.Contains(before, ".") {
			if _, there := out[rest]; !there {
				out[rest] = v
			}
		}
	}
	return out
}

// regionNames returns the names of those that have a backend of dogpile.cache.
func regionNames(settings Settings) (names []string) {
	for key := range settings {
		name, is := strings.CutSuffix(key, "backend")
		if is && (name == "" || strings.HasSuffix(name, ".")) && !strings.Contains("."+key, ".arguments.") {
			names = append(names, strings.TrimSuffix(name, "."))
		}
	}
	slices.Sort(names)
	return names
}

// owner returns the longest name that a key begins with.
func owner(names []string, key string) (of string) {
	for _, name := range names {
		if strings.HasPrefix(key, name+".") && len(name) > len(of) {
			of = name
		}
	}
	return of
}

// region is one region on its way.
type region struct {
	key    string // that all of its keys begin with
	name   string
	title  string // its name here
	values Settings
	lines  []string // of TOML
	notes  []string // comments
	lost   []string
	broken bool // it has no backend here
}

// take returns the text of a setting that is set, and notes that it was seen.
func (r *region) take(name string) (string, bool) {
	v, is := r.values[name]
	delete(r.values, name)
	if len(v.list) > 0 {
		return strings.Join(v.list, ","), true
	}
	return v.text, is && v.text != "" && v.text != "None"
}

// takeList returns the values of a setting that may be a list, or one text with commas or spaces.
func (r *region) takeList(name string) []string {
	v := r.values[name]
	delete(r.values, name)
	if v.list != nil || v.text == "" || v.text == "None" {
		return v.list
	}
	return strings.FieldsFunc(v.text, func(c rune) bool { return c == ',' || c == ' ' || c == '\n' })
}

// takeTrue reports whether a setting is true.
func (r *region) takeTrue(name string) bool {
	v, _ := r.take(name)
	return strings.EqualFold(v, "true") || v == "1"
}

func (r *region) set(name, toml string) { r.lines = append(r.lines, name+" = "+toml) }

// note tells of what needs no counterpart.
func (r *region) note(name, why string) { r.notes = append(r.notes, r.key+name+": "+why) }

// lose tells of what could not be carried over.
func (r *region) lose(name, why string) {
	sentence := r.key + name + ": " + why
	r.lost = append(r.lost, sentence)
	r.notes = append(r.notes, sentence)
}

// secret tells of what is not written.
func (r *region) secret(name, here string) {
	if _, given := r.take(name); given {
		r.hidden(name, here)
	}
}

func (r *region) hidden(name, here string) {
	variable := strings.ToUpper(strings.ReplaceAll("cache."+r.title+"."+here, ".", "__"))
	why := fmt.Sprintf("is secret, and not written; set %s here, or where the program reads its environment DOGPILE_%s", here, variable)
	if here == "arguments.password" {
		why += ", or name a file that has it: arguments.password_file"
	}
	r.lose(name, why)
}

// number reads a setting as Python does.
func (r *region) number(name string) (n float64, given bool) {
	text, given := r.take(name)
	if !given {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		r.lose(name, "is not a number")
		return 0, false
	}
	return n, true
}

var plainName = regexp.MustCompile(`^[\w.]+$`)

// convert fills in the lines.
func (r *region) convert() {
	backend, given := r.take("backend")
	kind := strings.TrimPrefix(backend, "dogpile.cache.")
	convert := backends[kind]
	if !given || convert == nil {
		r.broken = true
		what := "what it is"
		if plainName.MatchString(backend) { // and no URL, which may have a password
			what = fmt.Sprintf("%q", backend)
		}
		r.lose("backend", what+" has no counterpart here; write one as docs/writing-a-backend.md tells, or choose another")
		return
	}
	convert(r, kind)
	if r.takeTrue("replace_existing_backend") {
		r.set("replace_existing_backend", "true")
	}
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		v := r.values[name]
		switch {
		case v.text == "None":
		case name == "wrap":
			r.lose(name, "classes of Python have no counterpart; proxies = \"log, compress, breaker\" names those that are here")
		default:
			r.lose(name, "has no counterpart here")
		}
	}
}

// backends has what converts a region, by the name of its backend in Python after
// "dogpile.cache.".
var backends map[string]func(r *region, kind string)

func init() {
	backends = map[string]func(*region, string){
		"memory": (*region).memory, "memory_pickle": (*region).memory, "null": (*region).null, "dbm": (*region).dbm,
		"redis": (*region).redis, "valkey": (*region).redis, "redis_sentinel": (*region).redis, "valkey_sentinel": (*region).redis,
		"redis_cluster": (*region).redis, "valkey_cluster": (*region).redis,
		"memcached": (*region).memcached, "pylibmc": (*region).memcached, "pymemcache": (*region).memcached, "bmemcached": (*region).memcached,
	}
}

func (r *region) memory(kind string) {
	r.set("backend", quote("memory"))
	r.expires(0)
	if kind == "memory_pickle" {
		r.set("arguments.copy", "true")
	}
	if _, given := r.values["arguments.cache_dict"]; given {
		delete(r.values, "arguments.cache_dict")
		r.lose("arguments.cache_dict", "regions that share a dict share a backend here: cache.backends.main = \"memory\", and backend = \"@main\" in each")
	}
}

func (r *region) null(string) {
	r.set("backend", quote("null"))
	r.expires(0)
	r.drop("arguments.lock_factory", "there is nothing to lock")
}

func (r *region) dbm(string) {
	r.set("backend", quote("file"))
	r.expires(0)
	if name, given := r.take("arguments.filename"); given {
		r.set("arguments.path", quote(name+".dogpile"))
		r.lose("arguments.filename", "the format of the file is another one, so that it has a new name, and its entries are not carried over")
	} else {
		r.lose("arguments.filename", "is missing; arguments.path says where the file is")
	}
	for _, name := range []string{"rw_lockfile", "dogpile_lockfile", "lock_factory"} {
		r.drop("arguments."+name, "locks are in the file, one for each key")
	}
}

// drop notes a setting that needs no counterpart.
func (r *region) drop(name, why string) {
	_, given := r.values[name]
	delete(r.values, name)
	if given {
		r.note(name, "not needed: "+why)
	}
}

// shared writes what is the same for all backends that Python programs share entries over.
func (r *region) shared() {
	r.set("prefix", quote("none")+" # Python puts nothing before keys")
	r.drop("arguments.distributed_lock", "processes that share entries share the lock, always")
	ttl, given := r.number("arguments.lock_timeout")
	switch {
	case given && (ttl < .01 || ttl > 24*60*60):
		r.lose("arguments.lock_timeout", fmt.Sprintf("%v seconds are no lock_ttl, which is from 10 ms to 24 h", ttl))
	case given:
		r.set("lock_ttl", decimal(ttl))
	}
}

// expires writes the expiration. keep is how long the backend keeps entries in Python, in seconds;
// 0: for ever.
func (r *region) expires(keep float64) {
	expiration, given := r.number("expiration_time")
	if expiration < 0 {
		given = false // -1 is never
	}
	switch {
	case !given && keep <= 0:
		return
	case !given, keep > 0 && keep <= expiration:
		r.set("expiration_time", decimal(keep))
		r.set("stale_for", "0 # the server drops entries as soon as they are so old")
	case keep > 0:
		r.set("expiration_time", decimal(expiration))
		r.set("stale_for", decimal(keep-expiration)+" # until the server drops them, as in Python")
	default:
		r.set("expiration_time", decimal(expiration))
		r.note("expiration_time", "Python returns an old value however old it is, and here it is returned for as long again; stale_for = \"never\" is Python's way")
	}
}

// write writes the region as a table.
func (r *region) write(b *strings.Builder) {
	b.WriteByte('\n')
	for _, note := range r.notes {
		fmt.Fprintf(b, "# %s\n", oneLine(note))
	}
	if r.broken {
		fmt.Fprintf(b, "# [cache.%s]\n", tomlKey(r.title))
		return
	}
	fmt.Fprintf(b, "[cache.%s]\n", tomlKey(r.title))
	for _, line := range r.lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
}

// CheckName returns what is wrong with the name of a region without one.
func CheckName(name string) error {
	if name == "" || strings.EqualFold(name, "backends") || strings.ContainsAny(name, "\"\\") {
		return errors.New("is no name of a region")
	}
	return nil
}

// first returns the first of several texts that is not empty.
func first(texts ...string) string { return cmp.Or(texts...) }
