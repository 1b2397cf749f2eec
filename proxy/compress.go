package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sync"

	"github.com/dogpile-go/dogpile/driver"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// CompressOptions says what [Compress] does to values. The zero value is the
// default.
type CompressOptions struct {
	// Zstd compresses with Zstandard, which makes values smaller and takes longer
	// than the default, S2. Either is read whatever this says.
	Zstd bool

	// MinSize is the size in bytes under which a value is left as it is; 0: 256;
	// -1: every value is tried.
	MinSize int

	// MaxSize is the size in bytes over which a value is not compressed, and over
	// which none is decompressed, so that a few stored bytes cannot fill the
	// memory; 0: 64 MiB; -1: no limit.
	MaxSize int
}

// A compressed value begins with a header: the magic, one byte for the method,
// and the CRC-32C of the value, big-endian. What begins otherwise is a value as
// it is. A value that happens to begin with the magic gets a header too.
const (
	magic      = "\x00dpz"
	headerLen  = len(magic) + 1 + 4
	methodNone = 'n'
	methodS2   = 's'
	methodZstd = 'z'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Compress returns a proxy that keeps values compressed, where that makes them
// smaller. Values that were stored without it, by Python or before it was put
// in, are read as they are. A value that was damaged is not found, and its
// item's Err wraps [driver.ErrCorrupt].
//
// It needs values as bytes and so turns Objects of [driver.Caps] off. MaxValue
// is 0: a value may be larger than the backend's limit if its compressed form is
// not. One that does not fit gets an Err. nil and the zero CompressOptions mean
// the same.
func Compress(o *CompressOptions) func(driver.Backend) driver.Backend {
	if o == nil {
		o = &CompressOptions{}
	}
	minSize, maxSize := o.MinSize, o.MaxSize
	if minSize == 0 {
		minSize = 256
	}
	if maxSize == 0 {
		maxSize = 64 << 20
	}
	if maxSize < 0 {
		maxSize = math.MaxInt
	}
	useZstd := o.Zstd
	return func(b driver.Backend) driver.Backend {
		return &compressor{
			Proxy:    driver.Proxy{Backend: b},
			codec:    newCodec(useZstd, minSize, maxSize),
			maxValue: driver.CapsOf(b).MaxValue,
		}
	}
}

type compressor struct {
	driver.Proxy
	*codec
	maxValue int // of the backend; 0: no limit
}

// Caps implements [driver.Describer].
func (c *compressor) Caps() driver.Caps {
	caps := c.Proxy.Caps()
	caps.Objects = false
	caps.MaxValue = 0
	return caps
}

// Set implements [driver.Backend].
func (c *compressor) Set(ctx context.Context, items []driver.Item) error {
	// The items are the caller's, so what changes goes into a slice of our own,
	// which is made at the first change: a batch of small values costs nothing.
	packed := items
	var at []int // where in items those of packed come from; nil: packed is items
	for i := range items {
		data := c.pack(items[i].Data)
		refused := c.maxValue > 0 && len(data) > c.maxValue
		if at == nil && !refused && sameSlice(data, items[i].Data) {
			continue
		}
		if at == nil {
			packed, at = slices.Clone(items[:i]), indices(i)
		}
		if refused {
			items[i].Err = fmt.Errorf("compressed, the value has %d bytes, over the backend's limit of %d", len(data), c.maxValue)
			continue
		}
		it := items[i]
		it.Data = data
		packed, at = append(packed, it), append(at, i)
	}
	err := c.Proxy.Set(ctx, packed)
	for j, i := range at {
		items[i].Err = packed[j].Err
	}
	return err
}

func sameSlice(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func indices(n int) []int {
	s := make([]int, 0, n+1)
	for i := range n {
		s = append(s, i)
	}
	return s
}

// Get implements [driver.Backend].
func (c *compressor) Get(ctx context.Context, items []driver.Item) error {
	err := c.Proxy.Get(ctx, items)
	// Even when Get fails, items that were read before it did are unpacked: a
	// caller that looks at them must not take compressed bytes for a value.
	for i := range items {
		if it := &items[i]; it.Data != nil {
			data, err := c.unpack(it.Data)
			if err != nil {
				it.Data, it.Err = nil, err
				continue
			}
			it.Data = data
		}
	}
	return err
}

// codec turns values into what is stored and back.
type codec struct {
	minSize, maxSize int
	zstd             bool
	encoder          *zstd.Encoder // nil unless zstd
	decoder          func() *zstd.Decoder
}

// scratch holds the buffers that are compressed into. What comes out is copied
// to its own size, or the backend would keep the room that was not needed.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func newCodec(useZstd bool, minSize, maxSize int) *codec {
	c := &codec{minSize: minSize, maxSize: maxSize, zstd: useZstd}
	if useZstd {
		// Both errors here are about options, which are constant. Zstandard's own
		// checksum is off: the header has one, over the value, for every method.
		c.encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	}
	// The decoder is made when it is first needed, since it is there without Zstd
	// too: for values that were stored with it.
	c.decoder = sync.OnceValue(func() *zstd.Decoder {
		d, _ := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(uint64(maxSize)), zstd.WithDecoderLowmem(true))
		return d
	})
	return c
}

// pack returns what is to be stored for data: data itself or a new slice.
func (c *codec) pack(data []byte) []byte {
	if data == nil {
		return nil
	}
	if len(data) >= c.minSize && len(data) <= c.maxSize {
		buf := scratch.Get().(*[]byte)
		defer scratch.Put(buf)
		method := byte(methodS2)
		if c.zstd {
			method = methodZstd
			*buf = c.encoder.EncodeAll(data, (*buf)[:0])
		} else {
			*buf = s2.Encode((*buf)[:cap(*buf)], data)
		}
		if headerLen+len(*buf) < len(data) {
			return withHeader(method, data, *buf)
		}
	}
	// Stored as it is, this value would be read as a header and refused.
	if bytes.HasPrefix(data, []byte(magic)) {
		return withHeader(methodNone, data, data)
	}
	return data
}

func withHeader(method byte, data, payload []byte) []byte {
	out := make([]byte, 0, headerLen+len(payload))
	out = append(out, magic...)
	out = append(out, method)
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(data, castagnoli))
	return append(out, payload...)
}

// unpack returns the value for what was stored: a part of it or a new slice,
// never nil. Its errors wrap driver.ErrCorrupt.
func (c *codec) unpack(stored []byte) ([]byte, error) {
	if !bytes.HasPrefix(stored, []byte(magic)) {
		return stored, nil
	}
	if len(stored) < headerLen {
		return nil, corrupt("it is cut short")
	}
	method, sum, payload := stored[len(magic)], binary.BigEndian.Uint32(stored[len(magic)+1:]), stored[headerLen:]
	data := payload
	var err error
	switch method {
	case methodNone:
	case methodS2:
		data, err = c.unpackS2(payload)
	case methodZstd:
		data, err = c.decoder().DecodeAll(payload, []byte{})
	default:
		return nil, corrupt("it is compressed in an unknown way")
	}
	if err != nil {
		return nil, corrupt(err.Error())
	}
	// A damaged stream may well decompress, to another value.
	if crc32.Checksum(data, castagnoli) != sum {
		return nil, corrupt("its checksum differs")
	}
	return data, nil
}

func (c *codec) unpackS2(payload []byte) ([]byte, error) {
	// The length that the stream claims is checked before so much is allocated.
	n, err := s2.DecodedLen(payload)
	if err != nil {
		return nil, err
	}
	if n > c.maxSize {
		return nil, fmt.Errorf("it would be %d bytes long, over MaxSize %d", n, c.maxSize)
	}
	data, err := s2.Decode(make([]byte, n), payload)
	if data == nil {
		data = []byte{} // an empty value is a value
	}
	return data, err
}

func corrupt(why string) error { return fmt.Errorf("%w: %s", driver.ErrCorrupt, why) }
