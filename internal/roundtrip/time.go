package roundtrip

import (
	"errors"
	"reflect"
	"time"
)

// Time tells why a time.Time that is written as RFC 3339 does not come back as
// the same instant. It is for Rules.Look.
func Time(v reflect.Value) error {
	t, ok := reflect.TypeAssert[time.Time](v)
	if !ok {
		return nil
	}
	if _, offset := t.Zone(); offset%60 != 0 || offset <= -24*3600 || offset >= 24*3600 {
		return errors.New("a time whose offset from UTC is not in whole minutes of less than a day would come back as another")
	}
	if y := t.Year(); y < 0 || y > 9999 {
		return errors.New("a time whose year does not have four digits cannot be read")
	}
	return nil
}
