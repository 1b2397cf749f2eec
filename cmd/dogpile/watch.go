package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/dogpile-go/dogpile/driver"
)

func newWatch() *cobra.Command {
	var t target
	w := &watcher{}
	l := &live{tick: w.look, sorted: -1, about: watchColumns}
	cmd := &cobra.Command{
		Use:   "watch KEY...",
		Short: "Show the entries of keys as they change, live",
		Long: `watch shows the entries of keys as "dogpile peek" does, and looks again and again: how they
age, become stale and are created anew, by whom, or are invalidated, deleted or dropped.

` + watchColumns + `
It asks the backend about eight keys at a time, up to five times for each, and then not for
the time of --interval; --timeout is for each key. It changes nothing. A row in which something other than the
age has changed is marked. Where the backend does not answer, that is said, and watch goes on.

On a terminal the keys are q to leave and ? for help. Where there is no terminal, each look is
written below the one before.

With --json it writes one object a line for each look, with the fields

  at      when that was, in RFC 3339
  keys    what "dogpile peek --json" tells of each key
  error   why there are none, where the backend has not answered

It exits with 0 when it is left, and with --once with 1 if the backend has not answered.`,
		Example: `  dogpile watch --config app.toml --region users 42 43
  dogpile watch --backend redis://10.0.0.3:6379/1 --region users 42 --json --interval 500ms`,
		Args: someKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := l.check(); err != nil {
				return err
			}
			o, err := t.open(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			defer o.close()
			if err := o.shared(); err != nil {
				return err
			}
			w.opened, w.keys, w.timeout = o, args, t.timeout
			return l.run(cmd.Context(), cmd.OutOrStdout())
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t.add(cmd)
	l.add(cmd, time.Second)
	return cmd
}

const watchColumns = `A row is a key:

  state       fresh, stale, expired (readers are given it no more), invalidated,
              unreadable, unknown (only --config says when entries expire), or not there
  age         since its creation ended
  dropped in  when the backend drops it, where that is known
  size        of the entry, with what the region keeps of it
  creating    who creates it anew, and for how long already
  changed     when it has changed last, since watch looks
`

// watcher looks at keys.
type watcher struct {
	opened  *opened
	keys    []string
	timeout time.Duration

	before  []watched // as they were at the last look that was answered
	failing time.Time // since when none was; zero: the last one was
}

// watched is a key as it was seen.
type watched struct {
	entry    *entry // nil: there is none
	creating bool
	holder   driver.Holder
	changed  time.Time // zero: it has not
}

type watchedKeys struct {
	At    string   `json:"at"`
	Keys  []peeked `json:"keys,omitempty"`
	Error string   `json:"error,omitempty"`
}

// look is a tick of the view.
func (w *watcher) look(ctx context.Context) frame {
	asked := time.Now()
	seen, err := w.ask(ctx)
	f := frame{at: time.Now(), err: err}
	program := &watchedKeys{At: f.at.UTC().Format(time.RFC3339Nano)}
	f.program = program
	f.head = []string{fmt.Sprintf("%s over %s", nameOf(w.opened.Name()), w.opened.caps.Name)}
	f.columns = []column{{"key", true}, {"state", true}, {name: "age"}, {name: "dropped in"}, {name: "size"}, {"creating", true}, {name: "changed"}}
	if err != nil {
		if w.failing.IsZero() {
			w.failing = asked
		}
		program.Error = unanswered(err, w.timeout)
		f.notes = []string{fmt.Sprintf("the backend has not answered for %s: %s", brief(f.at.Sub(w.failing)), program.Error)}
		if w.before != nil {
			f.notes = append(f.notes, "below is what it has said before that")
		}
		seen = w.before
	} else {
		w.mark(seen, f.at)
		w.before, w.failing = seen, time.Time{}
	}
	for i := range seen {
		if err == nil {
			program.Keys = append(program.Keys, peekedOf(w.keys[i], seen[i].entry, seen[i].creating, seen[i].holder))
		}
		f.rows = append(f.rows, seen[i].row(w.keys[i], f.at, err == nil))
	}
	return f
}

// atOnce is how many keys are asked about at a time.
const atOnce = 8

// ask asks about all keys, and ends with the first error: where one is not answered, the next
// would take as long.
func (w *watcher) ask(ctx context.Context) ([]watched, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	seen := make([]watched, len(w.keys))
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(atOnce, len(w.keys)) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(w.keys) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := w.askFor(ctx, w.keys[i], &seen[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return seen, nil
}

func (w *watcher) askFor(ctx context.Context, key string, to *watched) (err error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	if to.entry, err = w.opened.read(ctx, key, true); err == nil {
		to.holder, to.creating, err = w.opened.Holder(ctx, key)
	}
	return inTime(ctx, err)
}

// mark notes what has changed since the look before.
func (w *watcher) mark(seen []watched, at time.Time) {
	if w.before == nil {
		return
	}
	for i := range seen {
		if seen[i].changed = w.before[i].changed; !seen[i].same(&w.before[i]) {
			seen[i].changed = at
		}
	}
}

func (k *watched) same(o *watched) bool {
	if k.creating != o.creating || k.holder != o.holder || (k.entry == nil) != (o.entry == nil) {
		return false
	}
	return k.entry == nil || k.entry.state == o.entry.state && k.entry.meta.Created == o.entry.meta.Created && k.entry.size == o.entry.size
}

// row is the key in the table. asked: it was seen at that time, and not before.
func (k *watched) row(key string, at time.Time, asked bool) row {
	cells := []cell{{text: printable(key)}, {text: "not there"}, {"-", -1}, {"-", -1}, {"-", -1}, {text: "no"}, {"-", -1}}
	if e := k.entry; e != nil {
		cells[1].text, cells[4] = e.state, cell{bytesOf(int64(e.size)), float64(e.size)}
		if age := at.Sub(e.created()); e.why == nil {
			cells[2] = cell{brief(age), age.Seconds()}
		}
		if e.left > 0 && asked {
			cells[3] = cell{brief(e.left), e.left.Seconds()}
		}
	}
	if k.creating {
		cells[5].text = "by " + who(k.holder)
		if !k.holder.Since.IsZero() {
			cells[5].text = "for " + brief(at.Sub(k.holder.Since)) + " " + cells[5].text
		}
	}
	if !k.changed.IsZero() {
		ago := at.Sub(k.changed)
		cells[6] = cell{brief(ago.Round(time.Second)) + " ago", ago.Seconds()}
		if ago == 0 {
			cells[6].text = "now"
		}
	}
	return row{cells: cells, changed: asked && k.changed.Equal(at)}
}
