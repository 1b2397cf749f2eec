package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile/driver"
)

func newPeek() *cobra.Command {
	var t target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "peek KEY...",
		Short: "Show what is known of the entries of keys, without the values",
		Long: `peek shows how old the entries of keys are, whether readers are given them, how large
they are, when the backend drops them, their tags and schema, and who creates them anew
at the moment. It changes nothing. The state is by the expiration of the region, or the entry's
own: where a cache or function has one of its own (CacheOptions.Expiration), its readers may find
another one.

With --json it writes one object a line for each key, with the fields

  key           the key; key_base64 in its place where that is not UTF-8
  found         whether there is anything under the key
  state         fresh, stale, expired (readers are given it no more), invalidated,
                unreadable, or unknown: with --backend nobody says when entries expire,
                and without --region what was invalidated. Left out where nothing is
                found, as all that follow but creating and holder
  created       when its creation ended, in RFC 3339
  age_s         how old it is, in seconds
  took_s        how long its creation took, where that is known
  size          of the entry in bytes, with what the region keeps of it
  value_size    of the value in bytes
  ttl_s         after how many seconds the backend drops it; left out if it does not
  expire_in_s, stale_for_s   its own, if it has any; -1 is never
  tags          its tags
  schema        its schema, if it has one
  not_found     true for the answer that there is no value (CacheOptions.NotFound)
  problem       why it is unreadable
  creating      whether somebody holds its lease, to create it
  holder        who does, where that is known: program, host, pid, since and age_s, as
                of "dogpile locks"

It exits with 0 if readers are given all of them, and with 3 if one of them is not there,
expired, invalidated or unreadable.`,
		Example: `  dogpile peek --config app.toml --region users 42
  dogpile peek --backend redis://10.0.0.3:6379/1 --region users 42 43 --json`,
		Args: someKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.at(cmd, func(ctx context.Context, o *opened) error {
				return peek(ctx, o, cmd.OutOrStdout(), args, asJSON)
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	addJSON(cmd, &asJSON)
	return cmd
}

func peek(ctx context.Context, o *opened, w io.Writer, keys []string, asJSON bool) error {
	missing := false
	for i, key := range keys {
		e, err := o.read(ctx, key, true)
		if err != nil {
			return err
		}
		missing = missing || e == nil || !e.usable()
		holder, creating, err := o.Holder(ctx, key)
		if err != nil {
			return err
		}
		if asJSON {
			err = writeJSON(w, peekedOf(key, e, creating, holder))
		} else {
			if i > 0 {
				fmt.Fprintln(w)
			}
			err = peekTable(key, e, o, creating, holder).write(w)
		}
		if err != nil {
			return err
		}
	}
	if missing {
		return found
	}
	return nil
}

type peeked struct {
	keyFields
	Found     bool     `json:"found"`
	State     string   `json:"state,omitempty"`
	Created   string   `json:"created,omitempty"`
	Age       *float64 `json:"age_s,omitempty"`
	Took      *float64 `json:"took_s,omitempty"`
	Size      *int     `json:"size,omitempty"`
	ValueSize *int     `json:"value_size,omitempty"`
	TTL       *float64 `json:"ttl_s,omitempty"`
	ExpireIn  *float64 `json:"expire_in_s,omitempty"`
	StaleFor  *float64 `json:"stale_for_s,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	Schema    string   `json:"schema,omitempty"`
	NotFound  bool     `json:"not_found,omitempty"`
	Problem   string   `json:"problem,omitempty"`
	Creating  bool     `json:"creating"`

	Holder *holderFields `json:"holder,omitempty"`
}

func peekedOf(key string, e *entry, creating bool, holder driver.Holder) peeked {
	p := peeked{keyFields: keyOf(key), Found: e != nil, Creating: creating}
	if holder != (driver.Holder{}) {
		fields := holderOf(holder)
		p.Holder = &fields
	}
	if e == nil {
		return p
	}
	p.State, p.Size = e.state, &e.size
	if e.left > 0 {
		p.TTL = seconds(e.left)
	}
	if e.why != nil {
		p.Problem = problem(e.why)
		return p
	}
	size := len(e.payload)
	p.Created, p.ValueSize = e.created().UTC().Format(time.RFC3339Nano), &size
	p.Age, p.Schema, p.NotFound = seconds(time.Since(e.created())), e.meta.Schema, e.meta.NotFound
	if e.meta.Took > 0 {
		p.Took = seconds(e.meta.Took)
	}
	p.ExpireIn, p.StaleFor = own(e.meta.ExpireIn), own(e.meta.StaleFor)
	for _, tag := range e.meta.Tags {
		p.Tags = append(p.Tags, tag.Name)
	}
	return p
}

func (e *entry) created() time.Time { return time.Unix(0, e.meta.Created) }

// own is what an entry says for itself.
func own(d time.Duration) *float64 {
	switch {
	case d == 0:
		return nil
	case d < 0:
		never := -1.0
		return &never
	}
	return seconds(d)
}

// problem is an error as one of many words about an entry.
func problem(err error) string { return strings.TrimPrefix(err.Error(), "dogpile: ") }

func peekTable(key string, e *entry, o *opened, creating bool, holder driver.Holder) table {
	t := table{{"key", printable(key)}}
	add := func(name, value string) { t = append(t, []string{name, value}) }
	if e == nil {
		add("state", "not there")
	} else {
		add("state", e.state+e.because(o))
		e.describe(add)
	}
	switch {
	case creating && !holder.Since.IsZero():
		add("creating", "for "+brief(time.Since(holder.Since))+", by "+who(holder))
	case creating:
		add("creating", "by "+who(holder))
	default:
		add("creating", "no")
	}
	return t
}

// because explains a state that is less than was asked for.
func (e *entry) because(o *opened) string {
	switch {
	case e.why != nil:
		return ": " + escaped(problem(e.why))
	case e.state == stateExpired:
		return ": readers are given it no more"
	case e.state != stateUnknown:
		return ""
	case o.named:
		return ": not invalidated, but only --config knows when it expires"
	}
	return ": --config, or --region with --backend, would say of which region it is"
}

// describe adds what is known of the entry.
func (e *entry) describe(add func(name, value string)) {
	if e.why == nil {
		add("age", brief(time.Since(e.created()))+", created "+e.created().UTC().Format("2006-01-02 15:04:05.000 MST"))
		if e.meta.Took > 0 {
			add("creation took", brief(e.meta.Took))
		}
	}
	size := bytesOf(int64(e.size))
	if e.why == nil {
		size += ", of these " + bytesOf(int64(len(e.payload))) + " the value"
	}
	add("size", size)
	switch {
	case e.left > 0:
		add("dropped in", brief(e.left))
	case e.known:
		add("dropped in", "never, unless for want of room")
	default:
		add("dropped in", "unknown")
	}
	for _, own := range []struct {
		name string
		d    time.Duration
	}{{"expires after", e.meta.ExpireIn}, {"stale for", e.meta.StaleFor}} {
		switch {
		case own.d > 0:
			add(own.name, brief(own.d)+" (its own)")
		case own.d < 0:
			add(own.name, "no limit (its own)")
		}
	}
	var tags []string
	for _, tag := range e.meta.Tags {
		tags = append(tags, printable(tag.Name))
	}
	if len(tags) > 0 {
		add("tags", strings.Join(tags, " "))
	}
	if e.meta.Schema != "" {
		add("schema", printable(e.meta.Schema))
	}
	if e.meta.NotFound {
		add("answer", "there is no value")
	}
}
