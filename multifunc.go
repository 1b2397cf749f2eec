package dogpile

import (
	"context"
)

// MultiFunc is a function of many keys, whose results are cached one by one,
// under the keys that a Func of the same name would use. All methods may be
// called from many goroutines; the callers own the maps they are given.
type MultiFunc[K comparable, V any] struct {
	one *Func[K, V]
	fn  func(context.Context, []K) (map[K]V, error)
}

// NewMultiFunc makes a cached function of fn, which is given the keys whose
// results are to be made, none twice, and returns those it has; keys it leaves
// out are not cached, except as [CacheOptions.NotFound]. NewMultiFunc panics as [NewFunc] does.
func NewMultiFunc[K comparable, V any](r *Region, name string, fn func(context.Context, []K) (map[K]V, error), o *CacheOptions[V]) *MultiFunc[K, V] {
	var one func(context.Context, K) (V, error)
	if fn != nil {
		one = func(context.Context, K) (v V, err error) { return v, nil } // keys are all that one is for
	}
	return &MultiFunc[K, V]{newFunc("NewMultiFunc", r, name, one, o, func(k *K) []any { return []any{*k} }), fn}
}

// With returns the same cached function with other options, as [Func.With] does.
func (f *MultiFunc[K, V]) With(o CacheOptions[V]) *MultiFunc[K, V] {
	return &MultiFunc[K, V]{f.one.With(o), f.fn}
}

// Call returns the cached results for keys and those of the function for the
// others, as [Cache.GetOrCreateMulti] does. Keys without a result are not in the
// map, which is never nil: with an error it has those that could be had.
func (f *MultiFunc[K, V]) Call(ctx context.Context, keys ...K) (map[K]V, error) {
	return f.through(keys, func(names []string, byName map[string]K) (map[string]V, error) {
		return f.one.cache.GetOrCreateMulti(ctx, names, f.create(byName))
	})
}

// Get returns the fresh cached results among keys. It never calls the function.
func (f *MultiFunc[K, V]) Get(ctx context.Context, keys ...K) (map[K]V, error) {
	return f.through(keys, func(names []string, _ map[string]K) (map[string]V, error) {
		return f.one.cache.GetMulti(ctx, names)
	})
}

// Refresh calls the function for keys now, under their locks, and stores and
// returns its results.
func (f *MultiFunc[K, V]) Refresh(ctx context.Context, keys ...K) (map[K]V, error) {
	return f.through(keys, func(names []string, byName map[string]K) (map[string]V, error) {
		return f.one.cache.refreshMulti(ctx, names, f.create(byName))
	})
}

// Set makes vals the cached results of their keys.
func (f *MultiFunc[K, V]) Set(ctx context.Context, vals map[K]V) error {
	byName := make(map[string]V, len(vals))
	for k, v := range vals {
		name, err := f.Key(k)
		if err != nil {
			return err
		}
		byName[name] = v
	}
	return f.one.cache.SetMulti(ctx, byName)
}

// Delete removes the cached results of keys.
func (f *MultiFunc[K, V]) Delete(ctx context.Context, keys ...K) error {
	names, err := f.names(keys)
	if err != nil {
		return err
	}
	return f.one.cache.Delete(ctx, names...)
}

// Original calls the function itself, past the cache.
func (f *MultiFunc[K, V]) Original(ctx context.Context, keys ...K) (map[K]V, error) {
	return f.fn(ctx, keys)
}

// Key returns the key of k's result in the region, before prefix and mangling.
func (f *MultiFunc[K, V]) Key(k K) (string, error) { return f.one.Key(k) }

// names returns what Key returns for each of keys. The built-in form shares one piece of
// memory for all.
func (f *MultiFunc[K, V]) names(keys []K) ([]string, error) {
	names := make([]string, len(keys))
	if s := f.one.cache.region.current.Load(); s != nil && s.o.KeyFunc != nil {
		for i, k := range keys {
			var err error
			if names[i], err = f.Key(k); err != nil {
				return nil, err
			}
		}
		return names, nil
	}
	var buf []byte
	ends := make([]int, len(keys))
	for i := range keys {
		var err error
		if buf, err = f.one.append(buf, &keys[i]); err != nil {
			return nil, f.one.cache.region.wrap("key of", f.one.name, err)
		}
		ends[i] = len(buf)
	}
	all, from := string(buf), 0
	for i, end := range ends {
		names[i], from = all[from:end], end
	}
	return names, nil
}

// through does something with the keys' names and names the results back.
func (f *MultiFunc[K, V]) through(keys []K, do func([]string, map[string]K) (map[string]V, error)) (map[K]V, error) {
	vals := make(map[K]V, len(keys))
	names, err := f.names(keys)
	if err != nil {
		return vals, err
	}
	byName := make(map[string]K, len(keys))
	for i, k := range keys {
		byName[names[i]] = k
	}
	got, err := do(names, byName)
	for i, k := range keys {
		if v, ok := got[names[i]]; ok {
			vals[k] = v
		}
	}
	return vals, err
}

func (f *MultiFunc[K, V]) create(byName map[string]K) func(context.Context, []string) (map[string]V, error) {
	return func(ctx context.Context, missing []string) (map[string]V, error) {
		keys, names := make([]K, len(missing)), make(map[K]string, len(missing))
		for i, name := range missing {
			keys[i] = byName[name]
			names[keys[i]] = name
		}
		out, err := f.fn(ctx, keys)
		vals := make(map[string]V, len(out))
		for k, v := range out {
			if name, asked := names[k]; asked {
				vals[name] = v
			}
		}
		return vals, err
	}
}
