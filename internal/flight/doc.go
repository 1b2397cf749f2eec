// Package flight is the dogpile lock: the algorithm by which one creator makes a
// value anew while everybody else goes on with the old one. Package lock offers
// it for one value, package dogpile for the entries of a region. It is written
// here, once, for n keys; one key is n = 1.
//
// # The algorithm
//
// A caller has read its keys. For each of them, [Call.Do] goes through these steps:
//
//  1. Fresh: the value is the result.
//  2. Stale, and this process creates the key already, or backs off from it: the
//     stale value is the result. Otherwise the caller starts a flight. With a
//     Runner the flight is handed to it, and the stale value is the result.
//     Without, the caller waits for the flight.
//  3. Missing: the caller joins the flight of its key and version, or starts one,
//     and waits for it.
//
// All flights that a caller starts together travel as one batch, in one goroutine:
//
//  4. Take a slot among the creators of this process, and try the locks of all
//     keys in one pass. First the lock within the process, then the [Source]'s.
//  5. A key whose lock is held by another: with a stale value at hand, that is
//     the result, and the process backs off from the key for a moment. Without,
//     the key is no part of this batch's creation, and its callers start over. If
//     there is nothing to create, the batch waits for all its locks, each by
//     itself. A key whose lock becomes free is read; if it is still missing, the
//     batch goes back to step 4 with it.
//  6. With the locks: read again. What another creator has made meanwhile is
//     the result. The rest goes to the creator in one call, then to the store in
//     one call, and then the locks are given back and the results published.
//
// A lock is only tried, never waited for, while another one is held. So no order
// of keys can make two callers wait for each other in a circle. A slot among
// the creators is given back before a flight waits for a lock.
//
// # A flight's states
//
//	             ┌──── still missing ─────┐
//	             ▼                        │
//	start ──▶ locking ──▶ waiting ──▶ reading ──▶ ended: found, stale
//	             │  lock refused
//	             │
//	             ├──▶ ended: the stale value is kept
//	             │
//	             └──▶ creating ──▶ storing ──▶ ended: created
//	        lock held     │
//	                      └──▶ ended: found, omitted, error, panic
//
// From every state a time-out or Close leads to the end, with that error and with
// the lock given back. Others may join a flight until it stores, or is forgotten
// because its value was deleted.
//
// # Circles
//
// A creator may ask for other values. If the creator of one of these asks, in turn, for
// what the first one creates, both would wait for ever. So the flights of a process are
// nodes of a graph, which spans all Tables. A flight waits for the lock that it was
// refused, and by that for the creation that has it: within the process that is known,
// and for a Source's lock [Call].Space tells which creation of another Table it may be.
// A flight that has its lock waits for all that callers inside its creator wait for; the
// context tells which creation a caller is inside of. Whenever such a caller begins to
// wait, and whenever a flight is refused a lock, the graph is searched. A caller inside
// a creation that what it waits for leads back to gets an ErrRecursive that names the
// keys; the flights and their other callers go on. Under the graph's mutex,
//
//  1. A's creator notes that it waits for b, and finds nothing.
//  2. B's creator notes that it waits for a, and finds 1.
//
// or the other way round: of two that begin at the same moment one finds the other. A
// flight that a Runner carries is waited for until the Runner has returned. Since that may
// be a moment away, a circle through a Runner counts once it has lasted for a while.
// Callers outside of creators are no part of it and pay nothing. A creator that asks with
// another context than its own is such a caller. Two processes do not see each other's
// creators: there it is the time-out that ends a circle.
//
// # Late callers
//
// A caller is late for a flight if it called after the flight's cutoff, which is its
// last reading of the key; the creator begins right after that. The value that the
// flight carries may have been deleted before such a caller called:
//
//  1. A's flight reads the origin, which says "old".
//  2. Somebody changes the origin and deletes the key. The delete returns.
//  3. B calls, finds nothing, and joins A's flight.
//  4. A's flight ends with "old". B must not get it.
//
// Only one thing proves that nothing was deleted: the store succeeded, and did so
// under a lock which every delete revokes. So a late caller takes a created value
// if the lock held until the store, and otherwise starts over. A flight that it
// starts or joins then begins after its call, so no caller waits for more than two
// creations.
//
// A caller that renews joins only a renewer's flight, and only if it is not late for
// it: one creation runs, one waits, and all callers that come in the meantime join the
// one that waits. A caller that could not read does the same among those that could
// not read: any other flight goes by a version that may have been replaced before this
// caller called.
package flight
