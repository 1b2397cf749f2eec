package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile/driver"
)

func newLs() *cobra.Command {
	t := target{timeout: time.Minute}
	var l lister
	cmd := &cobra.Command{
		Use:   "ls [PREFIX]",
		Short: "List the keys of a region",
		Long: `ls lists what a region has in its backend, in no order: how many bytes each entry has, as
the backend keeps it, when it is dropped, and its key. With PREFIX it lists only keys that
begin so. Stale and invalidated entries are among them.

It asks for some keys at a time, so that others are served meanwhile. What is stored or
removed meanwhile may be in the list or not. Without --region it lists all keys of the
backend, as they are there. memcached cannot list what it has.

With --json it writes one object a line for each entry, with the fields

  key      the key; key_base64 in its place where that is not UTF-8
  size     of the entry in bytes, as the backend keeps it
  ttl_s    after how many seconds it is dropped; left out if it is not

It exits with 0 if there are any keys, with 3 if there are none, and with 2 if the backend
cannot list them.`,
		Example: `  dogpile ls --config app.toml --region users
  dogpile ls --backend redis://10.0.0.3:6379/1 --region users user: --limit 20`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("at most one PREFIX is wanted, and there are %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.limit < 0 {
				return fmt.Errorf("--limit is %d, not 0 or more", l.limit)
			}
			if len(args) == 1 {
				l.prefix = args[0]
			}
			return t.at(cmd, func(ctx context.Context, o *opened) error { return l.list(ctx, o, cmd.OutOrStdout()) })
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	cmd.Flags().IntVar(&l.limit, "limit", 0, "list so many keys at most; 0: all")
	cmd.RegisterFlagCompletionFunc("limit", cobra.NoFileCompletions)
	addJSON(cmd, &l.json)
	return cmd
}

// lister lists keys.
type lister struct {
	prefix string
	limit  int // 0: none
	json   bool
}

type listed struct {
	keyFields
	Size int      `json:"size"`
	TTL  *float64 `json:"ttl_s,omitempty"`
}

func (l *lister) list(ctx context.Context, o *opened, w io.Writer) error {
	// A backend may find a key twice. A number for each takes less memory than the keys.
	seed, seen := maphash.MakeSeed(), make(map[uint64]struct{})
	columns := columnsOf(w)
	var failed error
	err := o.Scan(ctx, func(f driver.Found) bool {
		if f.Holder != nil || !strings.HasPrefix(f.Key, l.prefix) {
			return true
		}
		n := len(seen)
		if seen[maphash.String(seed, f.Key)] = struct{}{}; len(seen) == n {
			return true
		}
		failed = l.write(w, columns, n == 0, f)
		return failed == nil && (l.limit == 0 || len(seen) < l.limit)
	})
	switch {
	case err != nil:
		return unlisted(o, err)
	case failed != nil:
		return failed
	case len(seen) == 0 && l.json:
		return found
	case len(seen) == 0:
		return status{errors.New("there is no such key")}
	}
	return nil
}

// write writes a line. Keys are last, so that columns are aligned without all lines being known.
func (l *lister) write(w io.Writer, columns int, first bool, f driver.Found) error {
	if l.json {
		e := listed{keyFields: keyOf(f.Key), Size: f.Size}
		if f.TTL > 0 {
			e.TTL = seconds(f.TTL)
		}
		return writeJSON(w, e)
	}
	line := func(size, left, key string) error {
		_, err := fmt.Fprintln(w, cut(fmt.Sprintf("%12s  %10s  %s", size, left, key), columns))
		return err
	}
	if first {
		if err := line("size", "dropped in", "key"); err != nil {
			return err
		}
	}
	left := "-"
	if f.TTL > 0 {
		left = brief(f.TTL)
	}
	return line(bytesOf(int64(f.Size)), left, printable(f.Key))
}

// unlisted returns the error of a Scan.
func unlisted(o *opened, err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return wrong{fmt.Errorf("a backend of kind %s cannot list what it has", o.caps.Name)}
	}
	return err
}
