package main

import (
	"fmt"
	"time"
)

const (
	remoteProcesses = 8
	remoteCrowd     = 50 // goroutines in each of them
	remoteLimit     = 56 * time.Millisecond
)

// printRemoteStampede shows what the callers of one missing key wait when they
// are in several processes.
func printRemoteStampede(o *options, title string, s setting, clients []client) error {
	fleets, err := launchFleets(remoteProcesses, s, clients)
	if err != nil {
		return err
	}
	defer fleets.Close()
	seen := make([][]stampede, len(clients))
	err = fleets.rounds(o, title, o.rounds, func(i int, key string, counts bool) error {
		done, err := orderAll(fleets[i], order{
			Key: key, Goroutines: remoteCrowd, Create: createTime,
			At: time.Now().Add(100 * time.Millisecond).UnixNano(), // all have got the order by then
		})
		if err != nil || !counts {
			return err
		}
		var waited []time.Duration
		for _, call := range done.Calls {
			waited = append(waited, time.Duration(call.End-call.Start))
		}
		seen[i] = append(seen[i], stampedeOf(int64(len(done.Created)), waited))
		return nil
	})
	if err != nil {
		return err
	}
	rows := [][]string{stampedeHead(remoteLimit)}
	for i, c := range clients {
		rows = append(rows, stampedeRow(c.name, seen[i], remoteLimit))
	}
	printTable(o.out, fmt.Sprintf("%s: %d processes of %d goroutines, creator takes %v; creations and max are the worst of all rounds",
		title, remoteProcesses, remoteCrowd, createTime), rows)
	return nil
}
