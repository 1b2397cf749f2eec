package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile/driver"
)

func newLocks() *cobra.Command {
	t := target{timeout: time.Minute}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "locks [KEY...]",
		Short: "Show who creates what, and since when",
		Long: `locks lists the leases on the keys of a region: who is creating the value of which key, on
which host and in which process, since when, and when the lease runs out unless it is
renewed. With KEYs it looks at those alone, which every backend can; without, memcached
cannot list them.

A lock of dogpile.cache is shown as one of "python", of which no more is known. Times are
those of the holder's host.

With --json it writes one object a line for each lease, with the fields

  key       the key; key_base64 in its place where that is not UTF-8
  program   "python" for a lock of dogpile.cache; left out for one of this library
  host      the name of the holder's host, where it is known
  pid       of its process, where it is known
  since     when the lease was taken, in RFC 3339, where it is known
  age_s     how long ago that is, in seconds
  ttl_s     after how many seconds it runs out, where that is known

It exits with 0 if there is a lease, with 3 if there is none, and with 2 if the backend
cannot list them.`,
		Example: `  dogpile locks --config app.toml --region users
  dogpile locks --backend memcached://10.0.0.1 --region users 42`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.at(cmd, func(ctx context.Context, o *opened) error { return locks(ctx, o, cmd.OutOrStdout(), args, asJSON) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	addJSON(cmd, &asJSON)
	return cmd
}

func locks(ctx context.Context, o *opened, w io.Writer, keys []string, asJSON bool) error {
	leases, err := leasesOn(ctx, o, keys)
	if err != nil {
		return err
	}
	// The longest first: they are what one looks for. Those of which it is not known are last.
	slices.SortStableFunc(leases, func(a, b driver.Found) int {
		if a.Holder.Since.IsZero() != b.Holder.Since.IsZero() {
			return map[bool]int{true: 1, false: -1}[a.Holder.Since.IsZero()]
		}
		if n := a.Holder.Since.Compare(b.Holder.Since); n != 0 {
			return n
		}
		return strings.Compare(a.Key, b.Key)
	})
	rows := table{{"for", "runs out in", "holder", "key"}}
	for _, lease := range leases {
		if asJSON {
			if err := writeJSON(w, lockOf(lease)); err != nil {
				return err
			}
		}
		rows = append(rows, lockRow(lease))
	}
	switch {
	case asJSON && len(leases) == 0:
		return found
	case asJSON:
		return nil
	case len(leases) == 0:
		return status{errors.New("nobody holds a lease")}
	}
	return rows.write(w)
}

// leasesOn returns the leases on keys, or without any on all keys of the region.
func leasesOn(ctx context.Context, o *opened, keys []string) (leases []driver.Found, err error) {
	for _, key := range keys {
		h, held, err := o.Holder(ctx, key)
		if err != nil {
			return nil, err
		}
		if held {
			leases = append(leases, driver.Found{Key: key, Holder: &h})
		}
	}
	if len(keys) > 0 {
		return leases, nil
	}
	at := make(map[string]int)
	err = o.Scan(ctx, func(f driver.Found) bool {
		if f.Holder == nil {
			return true
		}
		if i, twice := at[f.Key]; twice {
			leases[i] = f
			return true
		}
		at[f.Key] = len(leases)
		leases = append(leases, f)
		return true
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, wrong{fmt.Errorf("a backend of kind %s cannot list its leases; name the KEYs to look at", o.caps.Name)}
	}
	return leases, err
}

// holderFields are who holds a lease, in JSON.
type holderFields struct {
	Program string   `json:"program,omitempty"`
	Host    string   `json:"host,omitempty"`
	PID     int      `json:"pid,omitempty"`
	Since   string   `json:"since,omitempty"`
	Age     *float64 `json:"age_s,omitempty"`
}

func holderOf(h driver.Holder) holderFields {
	f := holderFields{Program: h.Program, Host: h.Host, PID: h.PID}
	if !h.Since.IsZero() {
		f.Since, f.Age = h.Since.UTC().Format(time.RFC3339Nano), seconds(time.Since(h.Since))
	}
	return f
}

type locked struct {
	keyFields
	holderFields
	TTL *float64 `json:"ttl_s,omitempty"`
}

func lockOf(f driver.Found) locked {
	l := locked{keyFields: keyOf(f.Key), holderFields: holderOf(*f.Holder)}
	if f.TTL > 0 {
		l.TTL = seconds(f.TTL)
	}
	return l
}

func lockRow(f driver.Found) []string {
	row := []string{"-", "-", who(*f.Holder), printable(f.Key)}
	if !f.Holder.Since.IsZero() {
		row[0] = brief(time.Since(f.Holder.Since))
	}
	if f.TTL > 0 {
		row[1] = brief(f.TTL)
	}
	return row
}

// who tells who holds a lease, but for since when.
func who(h driver.Holder) string {
	h.Since = time.Time{}
	return escaped(h.String())
}
