package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const holderLimit = 1100 * time.Millisecond

// printRemoteHolder shows how long it takes until a waiter is served whose
// holder is killed in the middle of a creation.
func printRemoteHolder(o *options, title string, s setting, clients []client) error {
	served := make([][]time.Duration, len(clients))
	for round := range o.rounds {
		o.progress(fmt.Sprintf("%s: round %d of %d", title, round+1, o.rounds))
		var group errgroup.Group // they only wait, and are in nobody's way
		for i, c := range clients {
			group.Go(func() error {
				took, err := takeover(o.patience, c, s, fmt.Sprint(title, c.name, round))
				served[i] = append(served[i], took)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	rows := [][]string{{"holder's death until a waiter has a value", "median s", "max s", fmt.Sprintf("≤ %v", holderLimit)}}
	seconds := func(d time.Duration) string {
		if d >= o.patience {
			return fmt.Sprintf("> %.0f", o.patience.Seconds())
		}
		return fmt.Sprintf("%.2f", d.Seconds())
	}
	for i, c := range clients {
		slices.Sort(served[i])
		middle, most := served[i][len(served[i])/2], slices.Max(served[i])
		rows = append(rows, []string{c.name, seconds(middle), seconds(most), verdict(most <= holderLimit)})
	}
	printTable(o.out, fmt.Sprintf("%s: SIGKILL in mid-creation, lease of %v", title, s.Lease), rows)
	return nil
}

// takeover returns how long a waiter waits on after its holder was killed, limit
// if it is for longer than that.
func takeover(limit time.Duration, c client, s setting, key string) (time.Duration, error) {
	both, err := launch(2, c, s)
	if err != nil {
		return 0, err
	}
	defer closeAll(both)
	holder, waiter := both[0], both[1]
	if err := holder.hold(order{Key: key, Goroutines: 1, Create: time.Hour}); err != nil {
		return 0, err
	}
	if err := waiter.in.Encode(order{Key: key, Goroutines: 1}); err != nil {
		return 0, fmt.Errorf("%s: %w", c.name, err)
	}
	// Nothing tells from outside that it waits. It has done nothing else yet. Some clients do
	// not extend their lease, after which it need not wait any more.
	if n, err := waiter.next(min(2*time.Second, s.Lease/3)); !errors.Is(err, errSilent) {
		return 0, fmt.Errorf("%s: did not wait for the holder: %+v, %w", c.name, n, err)
	}
	died := time.Now().UnixNano()
	holder.cmd.Process.Kill()
	switch done, err := waiter.done(limit); {
	case errors.Is(err, errSilent):
		return limit, nil
	case err != nil:
		return 0, err
	default:
		return time.Duration(done.Calls[0].End - died), nil
	}
}
