package dogpile

import (
	"context"
	"fmt"
	"reflect"

	"github.com/dogpile-go/dogpile/internal/funckey"
)

// Func is a function whose results are cached, the counterpart of a decorated
// function. All methods may be called from many goroutines.
//
// The key of a result is "name|arg", or "name|field,field" for a struct; parts
// are escaped, so that no two arguments share a key and every key is printable
// ASCII without spaces. Arguments may be booleans, numbers, strings, byte
// slices, arrays, slices, structs and pointers of these, whatever is an
// encoding.TextMarshaler, time.Time for one, and whatever is a Keyer.
// [Options.KeyFunc] makes other keys.
type Func[A, V any] struct {
	cache *Cache[V]
	name  string
	fn    func(context.Context, A) (V, error)
	enc   *funckey.Encoder[A]
	args  func(*A) []any // for Options.KeyFunc
	bare  bool           // there are none, and the key is the name
}

// NewFunc makes a cached function of fn. The name distinguishes it among the functions
// of r, which need not be configured yet; o may be nil. NewFunc panics if name is not
// printable, if a function of another type has the name already, if A has no key form,
// or if o is at fault.
func NewFunc[A, V any](r *Region, name string, fn func(context.Context, A) (V, error), o *CacheOptions[V]) *Func[A, V] {
	return newFunc("NewFunc", r, name, fn, o, func(a *A) []any { return []any{*a} })
}

func newFunc[A, V any](maker string, r *Region, name string, fn func(context.Context, A) (V, error), o *CacheOptions[V], args func(*A) []any) *Func[A, V] {
	if fn == nil {
		panic(fmt.Sprintf("dogpile: %s %q: function is nil", maker, name))
	}
	if err := checkName(name); err != nil {
		panic(fmt.Sprintf("dogpile: %s: %v", maker, err))
	}
	enc, err := funckey.For[A]()
	if err != nil {
		panic(fmt.Sprintf("dogpile: %s %q: %v", maker, name, err))
	}
	c := NewCache(r, o)
	if err := r.claim(name, reflect.TypeFor[func(A) V]()); err != nil {
		panic(fmt.Sprintf("dogpile: %s %q: %v", maker, name, err))
	}
	c.o.Name = name // whatever o says: events of a function carry its name
	return &Func[A, V]{c, name, fn, enc, args, len(args(new(A))) == 0}
}

// claim notes that a function of type t has the name. Two of different types would
// have the same keys, and evict each other's results for ever.
func (r *Region) claim(name string, t reflect.Type) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, taken := r.funcs[name]; taken && other != t {
		return fmt.Errorf("a function of another type has this name in region %q: %v, not %v", r.name, other, t)
	}
	if r.funcs == nil {
		r.funcs = make(map[string]reflect.Type)
	}
	r.funcs[name] = t
	return nil
}

// With returns the same cached function with other options: what o sets replaces those
// of f, all others stay. It shares all results and creations with f. It panics if o is
// at fault.
func (f *Func[A, V]) With(o CacheOptions[V]) *Func[A, V] {
	g := *f
	o.Name = "" // functions have their own
	g.cache = f.cache.With(o)
	return &g
}

// Call returns the cached result for a, or that of the function, as
// [Cache.GetOrCreate] does.
func (f *Func[A, V]) Call(ctx context.Context, a A) (V, error) {
	if s := f.cache.region.current.Load(); s != nil && s.quick && s.o.KeyFunc == nil && flagsOf(ctx)&(bypass|renew) == 0 {
		if v, ok, err := f.hit(ctx, s, a); ok {
			return v, err
		}
	}
	return f.call(ctx, a)
}

// hit is Cache.hit with the key of a, which is made without allocating.
func (f *Func[A, V]) hit(ctx context.Context, s *state, a A) (v V, ok bool, err error) {
	sc := s.scratch()
	defer s.free(sc)
	key, err := f.append(sc.key, &a)
	if err != nil {
		return v, false, nil // the long way tells
	}
	sc.key = key
	e, age, ok := f.cache.hit(ctx, s, sc, true)
	if !ok {
		return v, false, nil
	}
	if s.o.Hooks.Hit != nil {
		e.tell(ctx, s, f.name, string(sc.key[len(s.o.Prefix):]), age)
	}
	return e.value, true, f.cache.errorOf(e)
}

func (f *Func[A, V]) call(ctx context.Context, a A) (v V, err error) {
	key, err := f.Key(a)
	if err != nil {
		return v, err
	}
	return f.cache.getOrCreate(ctx, key, f.bind(a))
}

func (f *Func[A, V]) bind(a A) func(context.Context) (V, error) {
	return func(ctx context.Context) (V, error) { return f.fn(ctx, a) }
}

// Get returns the fresh cached result for a, if there is one. It never calls
// the function.
func (f *Func[A, V]) Get(ctx context.Context, a A) (v V, ok bool, err error) {
	key, err := f.Key(a)
	if err != nil {
		return v, false, err
	}
	return f.cache.Get(ctx, key)
}

// Set makes v the cached result for a.
func (f *Func[A, V]) Set(ctx context.Context, v V, a A) error {
	key, err := f.Key(a)
	if err != nil {
		return err
	}
	return f.cache.Set(ctx, key, v)
}

// Delete removes the cached result for a.
func (f *Func[A, V]) Delete(ctx context.Context, a A) error {
	key, err := f.Key(a)
	if err != nil {
		return err
	}
	return f.cache.Delete(ctx, key)
}

// Refresh calls the function now, under the lock of the key, and stores and
// returns its result, as [Cache.Refresh] does.
func (f *Func[A, V]) Refresh(ctx context.Context, a A) (v V, err error) {
	key, err := f.Key(a)
	if err != nil {
		return v, err
	}
	return f.cache.Refresh(ctx, key, f.bind(a))
}

// Original calls the function itself, past the cache.
func (f *Func[A, V]) Original(ctx context.Context, a A) (V, error) { return f.fn(ctx, a) }

// Key returns the key of a's result in the region, before prefix and mangling.
// It fails if a's own method for it does, or [Options.KeyFunc].
func (f *Func[A, V]) Key(a A) (string, error) {
	if s := f.cache.region.current.Load(); s != nil && s.o.KeyFunc != nil {
		key, err := s.o.KeyFunc(f.name, f.args(&a)...)
		if err != nil {
			return "", s.region.wrap("key of", f.name, err)
		}
		return key, nil
	}
	key, err := f.append(nil, &a)
	if err != nil {
		return "", f.cache.region.wrap("key of", f.name, err)
	}
	return string(key), nil
}

func (f *Func[A, V]) append(dst []byte, a *A) ([]byte, error) {
	dst = funckey.AppendName(dst, f.name)
	if f.bare {
		return dst, nil
	}
	return f.enc.Append(append(dst, '|'), a)
}
