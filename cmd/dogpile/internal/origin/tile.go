package origin

import (
	"bytes"
	"context"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/cmplx"
	"runtime"
	"time"
)

const maxIterations = 400

// Render draws the piece of the Mandelbrot set that belongs to key as a PNG of
// size × size pixels, and returns it and the CPU time that it took. The same key
// and size give the same bytes. When ctx ends it gives up with ctx's error; the
// CPU time is then that until it did.
func Render(ctx context.Context, key string, size int) (data []byte, cpu time.Duration, err error) {
	centre, width := place(key)
	return draw(ctx, centre, width, size)
}

// Deepest is the zoom at which neighbouring pixels of a tile are still different numbers.
const Deepest = 32

// Tile draws a tile of the map of the whole set, as Render draws. At a zoom of 0 the map is one tile,
// and at each further one twice as many in each direction; x goes to the right, and y down.
func Tile(ctx context.Context, zoom, x, y, size int) (data []byte, cpu time.Duration, err error) {
	const whole = 3 // the width of the map
	width := whole / float64(int64(1)<<zoom)
	return draw(ctx, complex(-2.25+(float64(x)+.5)*width, -1.5+(float64(y)+.5)*width), width, size)
}

// draw draws the square around centre.
func draw(ctx context.Context, centre complex128, width float64, size int) (data []byte, cpu time.Duration, err error) {
	img := image.NewPaletted(image.Rect(0, 0, size, size), palette)
	step := width / float64(size)
	corner := centre - complex(width/2, width/2)
	for y := range size {
		if err := ctx.Err(); err != nil {
			return nil, cpu, err
		}
		cpu += measure(func() {
			for x := range size {
				c := corner + complex(float64(x)*step, float64(y)*step)
				img.Pix[y*img.Stride+x] = shade(c)
			}
		})
		// The clients of the demonstration run on the same cores. They shall not
		// wait for a whole tile before they are scheduled.
		runtime.Gosched()
	}
	var out bytes.Buffer
	cpu += measure(func() { err = png.Encode(&out, img) })
	return out.Bytes(), cpu, err
}

// Size returns the size at which a tile takes about cost of CPU time on this
// machine, found by rendering small tiles of some keys; at least 1.
func Size(ctx context.Context, keys []string, cost time.Duration) (int, error) {
	const sample, tiles = 64, 8
	var total time.Duration
	for i := range tiles {
		_, cpu, err := Render(ctx, keys[i%len(keys)], sample)
		if err != nil {
			return 0, err
		}
		total += cpu
	}
	perPixel := max(float64(total)/(tiles*sample*sample), 1)
	return max(1, int(math.Sqrt(float64(cost)/perPixel))), nil
}

// place picks a square on the rim of the set's main body, where about half the
// pixels take all iterations: the tiles look different and cost alike.
func place(key string) (centre complex128, width float64) {
	h := fnv.New64a()
	h.Write([]byte(key))
	sum := h.Sum64()
	angle := 2 * math.Pi * float64(sum%3600) / 3600
	on := cmplx.Rect(1, angle)
	return on/2 - on*on/4, 0.05 + 0.15*float64(sum/3600%1000)/1000
}

// shade returns the colour of c: how many iterations it takes to leave, or the
// last colour if it stays.
func shade(c complex128) uint8 {
	cr, ci := real(c), imag(c)
	var zr, zi float64
	for n := range maxIterations {
		r2, i2 := zr*zr, zi*zi
		if r2+i2 > 4 {
			return uint8(n % (len(palette) - 1))
		}
		zr, zi = r2-i2+cr, 2*zr*zi+ci
	}
	return uint8(len(palette) - 1)
}

var palette = func() color.Palette {
	p := make(color.Palette, 256)
	for i := range p {
		t := float64(i) / 255 * 2 * math.Pi
		p[i] = color.RGBA{
			R: uint8(128 - 110*math.Cos(t)),
			G: uint8(128 - 110*math.Cos(2*t+1)),
			B: uint8(128 + 110*math.Sin(t)),
			A: 255,
		}
	}
	p[255] = color.RGBA{A: 255}
	return p
}()
