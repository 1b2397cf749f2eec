package dogpile

import "context"

type args2[A, B any] struct {
	A A
	B B
}

type args3[A, B, C any] struct {
	A A
	B B
	C C
}

// Func0 is a [Func] without an argument. The key is the name.
type Func0[V any] struct{ f *Func[struct{}, V] }

// NewFunc0 makes a cached function of fn, which has no argument, as [NewFunc] does.
func NewFunc0[V any](r *Region, name string, fn func(context.Context) (V, error), o *CacheOptions[V]) *Func0[V] {
	var wrapped func(context.Context, struct{}) (V, error)
	if fn != nil {
		wrapped = func(ctx context.Context, _ struct{}) (V, error) { return fn(ctx) }
	}
	return &Func0[V]{newFunc("NewFunc0", r, name, wrapped, o, func(*struct{}) []any { return nil })}
}

// With returns the same cached function with other options, as [Func.With] does.
func (f *Func0[V]) With(o CacheOptions[V]) *Func0[V] {
	return &Func0[V]{f.f.With(o)}
}

// Call returns the cached result, or that of the function, as [Func.Call] does.
func (f *Func0[V]) Call(ctx context.Context) (V, error) { return f.f.Call(ctx, struct{}{}) }

// Get returns the fresh cached result, if there is one. It never calls the
// function.
func (f *Func0[V]) Get(ctx context.Context) (V, bool, error) { return f.f.Get(ctx, struct{}{}) }

// Set makes v the cached result.
func (f *Func0[V]) Set(ctx context.Context, v V) error { return f.f.Set(ctx, v, struct{}{}) }

// Delete removes the cached result.
func (f *Func0[V]) Delete(ctx context.Context) error { return f.f.Delete(ctx, struct{}{}) }

// Refresh calls the function now, under the lock of the key, and stores and returns
// its result, as [Func.Refresh] does.
func (f *Func0[V]) Refresh(ctx context.Context) (V, error) { return f.f.Refresh(ctx, struct{}{}) }

// Original calls the function itself, past the cache.
func (f *Func0[V]) Original(ctx context.Context) (V, error) { return f.f.Original(ctx, struct{}{}) }

// Key returns the key of the result in the region, before prefix and mangling.
func (f *Func0[V]) Key() (string, error) { return f.f.Key(struct{}{}) }

// Func2 is a [Func] of two arguments. The key is "name|a,b".
type Func2[A, B, V any] struct{ f *Func[args2[A, B], V] }

// NewFunc2 makes a cached function of fn, as [NewFunc] does.
func NewFunc2[A, B, V any](r *Region, name string, fn func(context.Context, A, B) (V, error), o *CacheOptions[V]) *Func2[A, B, V] {
	var wrapped func(context.Context, args2[A, B]) (V, error)
	if fn != nil {
		wrapped = func(ctx context.Context, a args2[A, B]) (V, error) { return fn(ctx, a.A, a.B) }
	}
	return &Func2[A, B, V]{newFunc("NewFunc2", r, name, wrapped, o, func(a *args2[A, B]) []any { return []any{a.A, a.B} })}
}

// With returns the same cached function with other options, as [Func.With] does.
func (f *Func2[A, B, V]) With(o CacheOptions[V]) *Func2[A, B, V] {
	return &Func2[A, B, V]{f.f.With(o)}
}

// Call returns the cached result for a and b, or that of the function, as [Func.Call] does.
func (f *Func2[A, B, V]) Call(ctx context.Context, a A, b B) (V, error) {
	return f.f.Call(ctx, args2[A, B]{a, b})
}

// Get returns the fresh cached result for a and b, if there is one. It never calls the
// function.
func (f *Func2[A, B, V]) Get(ctx context.Context, a A, b B) (V, bool, error) {
	return f.f.Get(ctx, args2[A, B]{a, b})
}

// Set makes v the cached result for a and b.
func (f *Func2[A, B, V]) Set(ctx context.Context, v V, a A, b B) error {
	return f.f.Set(ctx, v, args2[A, B]{a, b})
}

// Delete removes the cached result for a and b.
func (f *Func2[A, B, V]) Delete(ctx context.Context, a A, b B) error {
	return f.f.Delete(ctx, args2[A, B]{a, b})
}

// Refresh calls the function now, under the lock of the key, and stores and returns
// its result, as [Func.Refresh] does.
func (f *Func2[A, B, V]) Refresh(ctx context.Context, a A, b B) (V, error) {
	return f.f.Refresh(ctx, args2[A, B]{a, b})
}

// Original calls the function itself, past the cache.
func (f *Func2[A, B, V]) Original(ctx context.Context, a A, b B) (V, error) {
	return f.f.Original(ctx, args2[A, B]{a, b})
}

// Key returns the key of the result for a and b in the region, before prefix and mangling.
func (f *Func2[A, B, V]) Key(a A, b B) (string, error) { return f.f.Key(args2[A, B]{a, b}) }

// Func3 is a [Func] of three arguments. The key is "name|a,b,c".
// Functions of more take a struct.
type Func3[A, B, C, V any] struct{ f *Func[args3[A, B, C], V] }

// NewFunc3 makes a cached function of fn, as [NewFunc] does.
func NewFunc3[A, B, C, V any](r *Region, name string, fn func(context.Context, A, B, C) (V, error), o *CacheOptions[V]) *Func3[A, B, C, V] {
	var wrapped func(context.Context, args3[A, B, C]) (V, error)
	if fn != nil {
		wrapped = func(ctx context.Context, a args3[A, B, C]) (V, error) { return fn(ctx, a.A, a.B, a.C) }
	}
	return &Func3[A, B, C, V]{newFunc("NewFunc3", r, name, wrapped, o, func(a *args3[A, B, C]) []any { return []any{a.A, a.B, a.C} })}
}

// With returns the same cached function with other options, as [Func.With] does.
func (f *Func3[A, B, C, V]) With(o CacheOptions[V]) *Func3[A, B, C, V] {
	return &Func3[A, B, C, V]{f.f.With(o)}
}

// Call returns the cached result for a, b and c, or that of the function, as [Func.Call] does.
func (f *Func3[A, B, C, V]) Call(ctx context.Context, a A, b B, c C) (V, error) {
	return f.f.Call(ctx, args3[A, B, C]{a, b, c})
}

// Get returns the fresh cached result for a, b and c, if there is one. It never calls the
// function.
func (f *Func3[A, B, C, V]) Get(ctx context.Context, a A, b B, c C) (V, bool, error) {
	return f.f.Get(ctx, args3[A, B, C]{a, b, c})
}

// Set makes v the cached result for a, b and c.
func (f *Func3[A, B, C, V]) Set(ctx context.Context, v V, a A, b B, c C) error {
	return f.f.Set(ctx, v, args3[A, B, C]{a, b, c})
}

// Delete removes the cached result for a, b and c.
func (f *Func3[A, B, C, V]) Delete(ctx context.Context, a A, b B, c C) error {
	return f.f.Delete(ctx, args3[A, B, C]{a, b, c})
}

// Refresh calls the function now, under the lock of the key, and stores and returns
// its result, as [Func.Refresh] does.
func (f *Func3[A, B, C, V]) Refresh(ctx context.Context, a A, b B, c C) (V, error) {
	return f.f.Refresh(ctx, args3[A, B, C]{a, b, c})
}

// Original calls the function itself, past the cache.
func (f *Func3[A, B, C, V]) Original(ctx context.Context, a A, b B, c C) (V, error) {
	return f.f.Original(ctx, args3[A, B, C]{a, b, c})
}

// Key returns the key of the result for a, b and c in the region, before prefix and mangling.
func (f *Func3[A, B, C, V]) Key(a A, b B, c C) (string, error) {
	return f.f.Key(args3[A, B, C]{a, b, c})
}
