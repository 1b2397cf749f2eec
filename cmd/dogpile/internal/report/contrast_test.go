package report_test

import (
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	blocks   = regexp.MustCompile(`:root \{([^}]*)\}`)
	variable = regexp.MustCompile(`--(\w+): #([0-9a-f]{6});`)
	colours  = regexp.MustCompile(`[{; ](color|background|fill): ([^;]+);`)
	literal  = regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl|color-mix|oklch)a?\(`)
)

// luminance is that of the definition of contrast in WCAG 2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestContrastOfBlackAndWhite(t *testing.T) {
	t.Parallel()
	if got := contrast(t, "ffffff", "000000"); math.Abs(got-21) > 1e-9 {
		t.Errorf("got %v, want 21", got)
	}
	if got := contrast(t, "767676", "ffffff"); math.Abs(got-4.54) > 0.005 {
		t.Errorf("got %v, want 4.54", got)
	}
}

// Every colour that something is written or drawn in can be read on every
// background, in both schemes of colours.
func TestContrast(t *testing.T) {
	t.Parallel()
	page, _ := pageOf(t, sample(t))
	style, _, _ := strings.Cut(page, "</style>")
	if found := literal.FindString(blocks.ReplaceAllString(style, "") + withoutData(page[len(style):])); found != "" {
		t.Errorf("a colour outside :root: %s", found)
	}
	schemes := blocks.FindAllStringSubmatch(style, -1)
	if len(schemes) != 2 {
		t.Fatalf("%d schemes of colours", len(schemes))
	}
	front, back := used(t, style)
	for i, name := range []string{"light", "dark"} {
		hex := map[string]string{}
		for _, m := range variable.FindAllStringSubmatch(schemes[i][1], -1) {
			hex[m[1]] = m[2]
		}
		for _, f := range front {
			for _, b := range back {
				if hex[f] == "" || hex[b] == "" {
					t.Fatalf("%s: %s is %q on %s, which is %q", name, f, hex[f], b, hex[b])
				}
				if c := contrast(t, hex[f], hex[b]); c < 4.5 {
					t.Errorf("%s: %s on %s has a contrast of %.2f", name, f, b, c)
				}
			}
		}
	}
}

// used returns the variables that texts and areas are coloured with. A mode's own
// colour may be that of any mode. Areas that are less than opaque have no text.
func used(t *testing.T, style string) (front, back []string) {
	t.Helper()
	sets := map[string]map[string]bool{"color": {}, "background": {}, "fill": {}}
	for _, m := range colours.FindAllStringSubmatch(style, -1) {
		name, ok := strings.CutPrefix(strings.TrimSuffix(m[2], ")"), "var(--")
		switch {
		case ok:
			sets[m[1]][name] = true
		case m[1] != "fill" || m[2] != "none" && m[2] != "transparent":
			t.Errorf("%s is %s, and no variable", m[1], m[2])
		}
	}
	maps.Copy(sets["color"], sets["fill"])
	if sets["color"]["mode"] {
		delete(sets["color"], "mode")
		maps.Copy(sets["color"], map[string]bool{"none": true, "coalesced": true, "dogpile": true})
	}
	front, back = slices.Sorted(maps.Keys(sets["color"])), slices.Sorted(maps.Keys(sets["background"]))
	if !slices.Equal(front, []string{"coalesced", "dogpile", "ink", "none", "soft"}) || !slices.Equal(back, []string{"card", "page"}) {
		t.Errorf("written in %q on %q", front, back)
	}
	return front, back
}
