package driver

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// daysOrWeeks are the parts of a duration that time.ParseDuration does not know.
var daysOrWeeks = regexp.MustCompile(`(\d+\.?\d*|\.\d+)[dw]`)

// ParseDuration reads a duration of a settings file: what [time.ParseDuration]
// reads, with "d" for days of 24 hours and "w" for weeks of seven days as further
// units, or a decimal number, which counts seconds. "-1", "never" and "Never"
// are -1 ns, the mark for no limit. White space around it is ignored. Numbers
// that are not finite or overflow a time.Duration are errors.
func ParseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if s == "-1" || s == "never" || s == "Never" {
		return -1, nil
	}
	if d, err := time.ParseDuration(daysOrWeeks.ReplaceAllStringFunc(s, inHours)); err == nil {
		return d, nil
	}
	seconds, err := strconv.ParseFloat(s, 64)
	ns := seconds * float64(time.Second)
	if err != nil || strings.ContainsAny(s, "xX_") || math.IsNaN(ns) || math.Abs(ns) >= math.MaxInt64 {
		return 0, errors.New(`neither a duration like "1m30s" or "2d" nor a number of seconds`)
	}
	return time.Duration(math.Round(ns)), nil
}

// inHours writes a number of days or weeks as one of hours, which may stand more than
// once in what time.ParseDuration reads.
func inHours(s string) string {
	hours := 24.0
	if strings.HasSuffix(s, "w") {
		hours *= 7
	}
	n, err := strconv.ParseFloat(s[:len(s)-1], 64)
	if err != nil {
		return s // too large
	}
	return strconv.FormatFloat(n*hours, 'f', -1, 64) + "h"
}
