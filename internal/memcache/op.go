// Package memcache is a small client of memcached's meta protocol: few
// connections to a server, shared by all callers, whose commands travel
// together. It knows one server; which server has a key is its caller's matter.
//
// The protocol is that of memcached's doc/protocol.txt, "Meta Commands".
package memcache

import "errors"

// Kind is what an Op asks for.
type Kind uint8

const (
	Get    Kind = iota // mg
	Set                // ms
	Delete             // md
)

// Status is how a server answered an Op.
type Status uint8

const (
	Unanswered Status = iota
	Done              // HD or VA: found, stored, deleted
	Missing           // EN or NF: there is no such item
	Refused           // NS: Add found an item
	Changed           // EX: the item's CAS is not Op.CAS
)

// Op is one command and, once Client.Do has returned, its answer. An Op belongs
// to Do until Do returns; its Value in a Set may be read, by the connection,
// for a while longer, so it must not be written to.
type Op struct {
	Kind Kind
	Key  string

	// Get
	NoValue bool   // do not ask for the value
	Vivify  uint32 // make an empty item for that many seconds if there is none; 0: do not
	AskLeft bool   // ask for Left, as Vivify does
	// Set
	Value []byte
	Flags uint32
	TTL   uint32 // seconds, or a Unix time when over 30 days; 0: none
	Add   bool   // store only if nothing is there
	Once  bool   // not to be sent again if it may have been carried out: driver.Item.Once
	// Set and Delete
	CAS uint64 // act only on the item that has this one; 0: on any

	// The answer. After a Get, Value, Flags and CAS are the item's; after a Set
	// that stored, CAS is the new one.
	Status Status
	Left   int64 // seconds that are left of the item, if asked for; -1: it has no end; 0: unknown
	Won    bool  // W: this caller is the first to be told of this stub or invalidated item
	Stale  bool  // X: another program has invalidated the item
	Err    error // what the server said of this command alone, as "too large"
}

var (
	// ErrKey is the error of a key that memcached cannot have: empty, longer
	// than 250 bytes, or with a space or control byte in it. Nothing was sent.
	ErrKey = errors.New("not a legal key")
	// ErrTooLarge is the Op.Err of a value that is over the server's item size.
	ErrTooLarge = errors.New("value is larger than the server takes")
	// ErrClosed is returned once a Client is closed.
	ErrClosed = errors.New("the memcached client is closed")
)
