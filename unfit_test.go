package dogpile_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
)

// TestTypeThatTheCodecCannotGiveBackIsRefused: at the first use, by the name of the
// field, before anything is created or stored; where no codec runs it is welcome.
func TestTypeThatTheCodecCannotGiveBackIsRefused(t *testing.T) {
	type lossy struct {
		Name string
		Why  error
	}
	for name, backend := range kinds {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := backend(t)
				c := dogpile.NewCache[lossy](newRegion(t, b, nil), nil)
				cr := constant(lossy{Name: "n", Why: errOrigin})
				_, err := c.GetOrCreate(bg, "k", cr.create)
				if name != "bytes" {
					wantErr(t, "GetOrCreate of objects", err, nil)
					return
				}
				_, _, getErr := c.Get(bg, "k")
				_, _, peekErr := c.Peek(bg, "k")
				_, multiErr := c.GetOrCreateMulti(bg, []string{"k"}, func(context.Context, []string) (map[string]lossy, error) { return nil, nil })
				for op, err := range map[string]error{
					"GetOrCreate": err, "Get": getErr, "Peek": peekErr, "GetOrCreateMulti": multiErr,
					"Set": c.Set(bg, "k", lossy{}),
				} {
					var oe *dogpile.OpError
					if !errors.As(err, &oe) || errors.Is(err, dogpile.ErrBackend) || !strings.Contains(err.Error(), "Why") {
						t.Errorf("%s: %v does not name the field", op, err)
					}
				}
				wantCalls(t, cr, 0)
				fit := c.With(dogpile.CacheOptions[lossy]{Codec: lossyCodec{}})
				v, err := fit.GetOrCreate(bg, "k", constant(lossy{Name: "n"}).create)
				wantValue(t, "with a codec that can", v, err, lossy{Name: "n"})
			})
		})
	}
}

// lossyCodec says of no type that it is not fit for it.
type lossyCodec struct{ dogpile.Codec }

func (lossyCodec) Append(dst []byte, v any) ([]byte, error) { return append(dst, "x"...), nil }

func (lossyCodec) Decode([]byte, any) error { return nil }
