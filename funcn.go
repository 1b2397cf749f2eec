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

// Func0 is Func for functions without an argument. The key is the name.
type Func0[V any] struct{ f *Func[struct{}, V] }

// NewFunc0 is NewFunc for functions without an argument.
func NewFunc0[V any](r *Region, name string, fn func(context.Context) (V, error), o *CacheOptions[V]) *Func0[V] {
	var wrapped func(context.Context, struct{}) (V, error)
	if fn != nil {
		wrapped = func(ctx context.Context, _ struct{}) (V, error) { return fn(ctx) }
	}
	return &Func0[V]{newFunc("NewFunc0", r, name, wrapped, o, func(*struct{}) []any { return nil })}
}

// Call is Func.Call.
func (f *Func0[V]) Call(ctx context.Context) (V, error) { return f.f.Call(ctx, struct{}{}) }

// Get is Func.Get.
func (f *Func0[V]) Get(ctx context.Context) (V, bool, error) { return f.f.Get(ctx, struct{}{}) }

// Set is Func.Set.
func (f *Func0[V]) Set(ctx context.Context, v V) error { return f.f.Set(ctx, v, struct{}{}) }

// Delete is Func.Delete.
func (f *Func0[V]) Delete(ctx context.Context) error { return f.f.Delete(ctx, struct{}{}) }

// Refresh is Func.Refresh.
func (f *Func0[V]) Refresh(ctx context.Context) (V, error) { return f.f.Refresh(ctx, struct{}{}) }

// Original is Func.Original.
func (f *Func0[V]) Original(ctx context.Context) (V, error) { return f.f.Original(ctx, struct{}{}) }

// Key is Func.Key.
func (f *Func0[V]) Key() (string, error) { return f.f.Key(struct{}{}) }

// Func2 is Func for functions of two arguments. The key is "name|a,b".
type Func2[A, B, V any] struct{ f *Func[args2[A, B], V] }

// NewFunc2 is NewFunc for functions of two arguments.
func NewFunc2[A, B, V any](r *Region, name string, fn func(context.Context, A, B) (V, error), o *CacheOptions[V]) *Func2[A, B, V] {
	var wrapped func(context.Context, args2[A, B]) (V, error)
	if fn != nil {
		wrapped = func(ctx context.Context, a args2[A, B]) (V, error) { return fn(ctx, a.A, a.B) }
	}
	return &Func2[A, B, V]{newFunc("NewFunc2", r, name, wrapped, o, func(a *args2[A, B]) []any { return []any{a.A, a.B} })}
}

// Call is Func.Call.
func (f *Func2[A, B, V]) Call(ctx context.Context, a A, b B) (V, error) {
	return f.f.Call(ctx, args2[A, B]{a, b})
}

// Get is Func.Get.
func (f *Func2[A, B, V]) Get(ctx context.Context, a A, b B) (V, bool, error) {
	return f.f.Get(ctx, args2[A, B]{a, b})
}

// Set is Func.Set.
func (f *Func2[A, B, V]) Set(ctx context.Context, v V, a A, b B) error {
	return f.f.Set(ctx, v, args2[A, B]{a, b})
}

// Delete is Func.Delete.
func (f *Func2[A, B, V]) Delete(ctx context.Context, a A, b B) error {
	return f.f.Delete(ctx, args2[A, B]{a, b})
}

// Refresh is Func.Refresh.
func (f *Func2[A, B, V]) Refresh(ctx context.Context, a A, b B) (V, error) {
	return f.f.Refresh(ctx, args2[A, B]{a, b})
}

// Original is Func.Original.
func (f *Func2[A, B, V]) Original(ctx context.Context, a A, b B) (V, error) {
	return f.f.Original(ctx, args2[A, B]{a, b})
}

// Key is Func.Key.
func (f *Func2[A, B, V]) Key(a A, b B) (string, error) { return f.f.Key(args2[A, B]{a, b}) }

// Func3 is Func for functions of three arguments. The key is "name|a,b,c".
// Functions of more take a struct.
type Func3[A, B, C, V any] struct{ f *Func[args3[A, B, C], V] }

// NewFunc3 is NewFunc for functions of three arguments.
func NewFunc3[A, B, C, V any](r *Region, name string, fn func(context.Context, A, B, C) (V, error), o *CacheOptions[V]) *Func3[A, B, C, V] {
	var wrapped func(context.Context, args3[A, B, C]) (V, error)
	if fn != nil {
		wrapped = func(ctx context.Context, a args3[A, B, C]) (V, error) { return fn(ctx, a.A, a.B, a.C) }
	}
	return &Func3[A, B, C, V]{newFunc("NewFunc3", r, name, wrapped, o, func(a *args3[A, B, C]) []any { return []any{a.A, a.B, a.C} })}
}

// Call is Func.Call.
func (f *Func3[A, B, C, V]) Call(ctx context.Context, a A, b B, c C) (V, error) {
	return f.f.Call(ctx, args3[A, B, C]{a, b, c})
}

// Get is Func.Get.
func (f *Func3[A, B, C, V]) Get(ctx context.Context, a A, b B, c C) (V, bool, error) {
	return f.f.Get(ctx, args3[A, B, C]{a, b, c})
}

// Set is Func.Set.
func (f *Func3[A, B, C, V]) Set(ctx context.Context, v V, a A, b B, c C) error {
	return f.f.Set(ctx, v, args3[A, B, C]{a, b, c})
}

// Delete is Func.Delete.
func (f *Func3[A, B, C, V]) Delete(ctx context.Context, a A, b B, c C) error {
	return f.f.Delete(ctx, args3[A, B, C]{a, b, c})
}

// Refresh is Func.Refresh.
func (f *Func3[A, B, C, V]) Refresh(ctx context.Context, a A, b B, c C) (V, error) {
	return f.f.Refresh(ctx, args3[A, B, C]{a, b, c})
}

// Original is Func.Original.
func (f *Func3[A, B, C, V]) Original(ctx context.Context, a A, b B, c C) (V, error) {
	return f.f.Original(ctx, args3[A, B, C]{a, b, c})
}

// Key is Func.Key.
func (f *Func3[A, B, C, V]) Key(a A, b B, c C) (string, error) {
	return f.f.Key(args3[A, B, C]{a, b, c})
}
