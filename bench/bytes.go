package main

import (
	"fmt"
	"runtime"
)

// printBytes shows what an entry takes of the heap, beyond what the keys of
// the workload take themselves.
func printBytes(o *options) error {
	contestants := []contestant{
		{nameOtter, openOtterGet(ttl)},
		{nameBounded, openBounded},
		{nameUnbounded, openUnbounded},
		{nameFlightTTL, openFlightTTL},
	}
	head := []string{"heap per entry"}
	for _, n := range o.sizes[1:] { // on few keys it is all fixed cost
		head = append(head, fmt.Sprintf("%d keys", n), "over otter")
	}
	rows := [][]string{head}
	for _, c := range contestants {
		rows = append(rows, []string{c.name})
	}
	for _, n := range o.sizes[1:] {
		w := newWorkload(n)
		var base float64
		for k, c := range contestants {
			b, err := bytesPerEntry(c, w)
			if err != nil {
				return err
			}
			if k == 0 {
				base = b
			}
			rows[k+1] = append(rows[k+1], fmt.Sprintf("%.0f", b), fmt.Sprintf("%+.0f", b-base))
		}
	}
	printTable(o.out, "Bytes of heap per entry of 100 bytes", rows)
	return nil
}

// bytesPerEntry opens c with all keys of w and returns by how much the heap is
// larger then, once garbage is collected, per key.
func bytesPerEntry(c contestant, w *workload) (float64, error) {
	before := heapInUse()
	opened, err := c.open(w)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.name, err)
	}
	after := heapInUse()
	opened.Close()
	runtime.KeepAlive(opened)
	return (float64(after) - float64(before)) / float64(len(w.keys)), nil
}

func heapInUse() uint64 {
	var m runtime.MemStats
	for range 3 { // finalizers and pools need more than one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
