package main

import (
	"fmt"
	"time"
)

const wakeLimit = 5 * time.Millisecond

// printRemoteWake shows for how long callers in other processes still wait when
// the creator is done. That is from the end of the creator on: encoding,
// storing and releasing are in it.
func printRemoteWake(o *options, title string, s setting, clients []client) error {
	fleets, err := launchFleets(1+remoteProcesses, s, clients)
	if err != nil {
		return err
	}
	defer fleets.Close()
	rounds := 4 * o.rounds
	waits := make([][]time.Duration, len(clients))
	err = fleets.rounds(o, title, rounds, func(i int, key string, counts bool) error {
		waited, err := wake(fleets[i], key)
		if counts {
			waits[i] = append(waits[i], waited...)
		}
		return err
	})
	if err != nil {
		return err
	}
	rows := [][]string{{"creator's end until a waiter has the value", "p50 ms", "p99 ms", "max ms", fmt.Sprintf("p99 ≤ %v", wakeLimit)}}
	for i, c := range clients {
		if len(waits[i]) == 0 {
			return fmt.Errorf("%s: all waiters came too late", c.name)
		}
		seen := stampedeOf(1, waits[i])
		rows = append(rows, []string{c.name, fmt.Sprintf("%.1f", milliseconds(seen.p50)), fmt.Sprintf("%.1f", milliseconds(seen.p99)),
			fmt.Sprintf("%.1f", milliseconds(seen.max)), verdict(seen.p99 <= wakeLimit)})
	}
	printTable(o.out, fmt.Sprintf("%s: %d processes wait for a creator in another one, %d times", title, remoteProcesses, rounds), rows)
	return nil
}

// wake has the first of processes create, and returns what each of the others
// waited on when it was done.
func wake(processes []*process, key string) (waited []time.Duration, err error) {
	const take = 200 * time.Millisecond // all wait by then
	holder, waiters := processes[0], processes[1:]
	o := order{Key: key, Goroutines: 1, Create: take}
	if err := holder.hold(o); err != nil {
		return nil, err
	}
	seen, err := orderAll(waiters, o)
	if err != nil {
		return nil, err
	}
	held, err := holder.done(patience)
	if err != nil {
		return nil, err
	}
	if len(held.Created) != 1 || len(seen.Created) > 0 {
		return nil, fmt.Errorf("%s: not one creation", holder.name)
	}
	done := held.Created[0]
	for _, call := range seen.Calls {
		if call.Start < done { // one that comes later has nothing to wait for
			waited = append(waited, time.Duration(call.End-done))
		}
	}
	return waited, nil
}

// hold gives an order and returns when the creator has begun.
func (p *process) hold(o order) error {
	if err := p.in.Encode(o); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	n, err := p.next(patience)
	if err == nil && !n.Creating {
		err = fmt.Errorf("%s: does not create a missing key", p.name)
	}
	return err
}
