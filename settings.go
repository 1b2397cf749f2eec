package dogpile

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dogpile-go/dogpile/driver"
)

var invalidators = registry[func() Invalidator]{kind: "invalidator", m: map[string]func() Invalidator{
	"local":  func() Invalidator { return new(LocalInvalidator) },
	"shared": func() Invalidator { return new(SharedInvalidator) },
}}

// RegisterInvalidator lets settings name an invalidator; each region that does
// gets one of its own from make. "local" and "shared" are known. It panics on
// nil and on a name that is taken.
func RegisterInvalidator(name string, make func() Invalidator) {
	invalidators.add(name, make, make == nil)
}

// parser takes the settings of one region one by one and notes what is wrong.
type parser struct {
	prefix    string
	values    map[string]setting  // by name in lower case
	arguments map[string]argument // of the backend, by name in lower case
	keys      map[string]string   // as they are written, by name in lower case
	faults    []error
}

type setting struct{ key, value string }

// put notes a setting, called name after the prefix.
func (p *parser) put(key, name, value string) {
	const arguments = "arguments."
	if hasPrefix(name, arguments) {
		if err := addArgument(p.arguments, argument{key, name[len(arguments):], value}); err != nil {
			p.faults = append(p.faults, err)
		}
		return
	}
	name = strings.ToLower(name)
	if old, is := p.values[name]; is && !overrules(key, old.key) {
		p.faults = append(p.faults, twice(key, old.key))
		return
	}
	p.values[name], p.keys[name] = setting{key, value}, key
}

// key returns the key of a setting as it is written.
func (p *parser) key(name string) string {
	return cmp.Or(p.keys[name], p.keys[optionAliases[name]], p.prefix+name)
}

func (p *parser) fault(name string, err error) {
	p.faults = append(p.faults, fmt.Errorf("%s: %w", p.key(name), err))
}

// optionFaults notes what is wrong with options, each under its key.
func (p *parser) optionFaults(err error) {
	for _, err := range parts(err) {
		if oe, is := err.(*optionError); is {
			p.fault(snake(oe.name), errors.New(oe.problem))
		} else {
			p.fault("backend", err)
		}
	}
}

// parts returns the errors that were joined in err, and in these in turn, or err alone.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	joined, is := err.(interface{ Unwrap() []error })
	if !is {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, parts(e)...)
	}
	return all
}

// take returns the value of a setting, and whether it has one.
func (p *parser) take(name string) (value string, given bool) {
	value, given = plain(p.values[name].value)
	delete(p.values, name)
	return value, given
}

// unknown notes the settings that nobody has taken.
func (p *parser) unknown() {
	for name := range p.values {
		p.fault(name, errors.New("is unknown"))
	}
}

func (p *parser) boolean(name string) (b bool) {
	if v, given := p.take(name); given {
		if err := readBool(reflect.ValueOf(&b).Elem(), v); err != nil {
			p.fault(name, err)
		}
	}
	return b
}

// optionAliases are dogpile.cache's names for settings.
var optionAliases = map[string]string{"expiration": "expiration_time"}

// options returns the options of a region: those of the Setup, and over them its
// settings.
func (d *draft) options(p *part) *Options {
	o := new(Options)
	for _, more := range []*Options{d.setup.Options, d.setup.Regions[p.region.name]} {
		o.override(more)
	}
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		read := readerOf(f)
		if read == nil && f.Name != "Near" {
			continue // it is no setting, and unknown as one
		}
		name := snake(f.Name)
		if f.Name == "Near" {
			o.Near = p.near(o.Near)
			continue
		}
		value, given := p.take(name)
		if alias := optionAliases[name]; alias != "" {
			other, both := p.take(alias)
			switch {
			case both && given:
				p.fault(alias, fmt.Errorf("is given twice, as %s too", name))
			case both:
				name, value, given = alias, other, true
			}
		}
		if !given {
			continue
		}
		for _, err := range parts(read(v.Field(i), value)) {
			p.fault(name, err)
		}
	}
	return o
}

// nearSettings are the names of the settings of Near, one for each of its fields.
var nearSettings = func() (names []string) {
	t := reflect.TypeFor[Near]()
	for i := range t.NumField() {
		names = append(names, "near."+snake(t.Field(i).Name))
	}
	return names
}()

// near returns n with what the settings say of it. Any of its own settings means that there
// are copies, unless "near" says that there are none.
func (p *part) near(n *Near) *Near {
	c := new(Near)
	if n != nil {
		*c = *n // the program's own stays as it is
	}
	wanted := n != nil
	for i, name := range nearSettings {
		value, given := p.take(name)
		if !given {
			continue
		}
		wanted = true
		field := reflect.ValueOf(c).Elem().Field(i)
		if err := typedReaders[field.Type()](field, value); err != nil {
			p.fault(name, err)
		}
	}
	if value, given := p.take("near"); given {
		if err := typedReaders[reflect.TypeFor[bool]()](reflect.ValueOf(&wanted).Elem(), value); err != nil {
			p.fault("near", err)
		}
	}
	if !wanted {
		return nil
	}
	return c
}

// override sets those fields of o that more sets.
func (o *Options) override(more *Options) {
	if more == nil {
		return
	}
	to, from := reflect.ValueOf(o).Elem(), reflect.ValueOf(more).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
}

// reader sets a field of Options to what a setting says.
type reader func(field reflect.Value, value string) error

// readerOf returns how the setting of a field is read: as the field's name says, or else
// its type. It returns nil for one that a string cannot express.
func readerOf(f reflect.StructField) reader {
	if read := namedReaders[f.Name]; read != nil {
		return read
	}
	return typedReaders[f.Type]
}

var typedReaders = map[reflect.Type]reader{
	reflect.TypeFor[time.Duration](): readDuration,
	reflect.TypeFor[float64](): func(field reflect.Value, value string) error {
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return errors.New("is not a number")
		}
		field.SetFloat(f)
		return nil
	},
	reflect.TypeFor[int](): func(field reflect.Value, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return errors.New("is not a whole number")
		}
		field.SetInt(int64(n))
		return nil
	},
	reflect.TypeFor[bool](): readBool,
	reflect.TypeFor[string](): func(field reflect.Value, value string) error {
		field.SetString(value)
		return nil
	},
}

var namedReaders = map[string]reader{
	"Expiration": readDurationOrNoTime,
	"StaleFor":   readDurationOrNoTime,
	"Prefix": func(field reflect.Value, value string) error {
		if value == "none" {
			value = NoPrefix
		}
		field.SetString(value)
		return nil
	},
	"Mangler": readNamed(manglerNamed),
	"Codec":   readNamed(codecNamed),
	"Invalidator": readNamed(func(name string) (Invalidator, error) {
		make, err := invalidators.named(name)
		if err != nil {
			return nil, err
		}
		return make(), nil
	}),
	"Proxies": readNamed(proxiesNamed),
	"Runner": func(field reflect.Value, value string) error {
		switch value {
		case "none":
			field.SetZero()
		case "background":
			field.Set(reflect.ValueOf(Background))
		default:
			return errors.New("is neither background nor none")
		}
		return nil
	},
}

func readDuration(field reflect.Value, value string) error {
	d, err := driver.ParseDuration(value)
	if err == nil {
		field.SetInt(int64(d))
	}
	return err
}

// readDurationOrNoTime is readDuration for options whose 0 stands for something else.
func readDurationOrNoTime(field reflect.Value, value string) error {
	err := readDuration(field, value)
	if err == nil && field.IsZero() {
		field.SetInt(int64(noTime))
	}
	return err
}

func readBool(field reflect.Value, value string) error {
	switch strings.ToLower(value) {
	case "true", "1":
		field.SetBool(true)
	case "false", "0":
		field.SetBool(false)
	default:
		return errors.New("is neither true nor false")
	}
	return nil
}

// readNamed reads what has a name.
func readNamed[T any](find func(name string) (T, error)) reader {
	return func(field reflect.Value, value string) error {
		v, err := find(value)
		if err == nil {
			field.Set(reflect.ValueOf(&v).Elem())
		}
		return err
	}
}

// proxiesNamed returns the proxies in a list of names, and all that are unknown in one
// error.
func proxiesNamed(list string) (wraps []func(driver.Backend) driver.Backend, err error) {
	var errs []error
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		wrap, err := driver.ProxyNamed(name)
		if err != nil {
			errs = append(errs, err)
		}
		wraps = append(wraps, wrap)
	}
	return wraps, errors.Join(errs...)
}

// snake returns the name of an option as settings write it.
func snake(name string) string {
	var b strings.Builder
	for i, c := range name {
		if i > 0 && unicode.IsUpper(c) && unicode.IsLower(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
