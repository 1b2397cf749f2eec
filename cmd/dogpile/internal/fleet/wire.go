// Package fleet runs the clients of a demonstration in processes of their own. The
// process that starts them has the origin and the clock. The others are its
// clients, as the servers of a fleet are clients of their database.
//
// They talk by pipes, in JSON, one message to a line. A client is told its task,
// then when to start, and then what the origin made for it. It tells that it is
// ready, what it wants of the origin, how far it has come, and at last what
// became of its requests.
package fleet

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// job is the first thing that a client is told.
type job struct {
	Backend string // its URL, which may hold secrets
	Task    *demo.Task
}

// order is what a client is told from then on: one of these.
type order struct {
	Start time.Time `json:",omitzero"` // all clients get the same
	Made  *made     `json:",omitempty"`
}

// made is the answer of the origin to a want.
type made struct {
	ID   int
	Data []byte `json:",omitempty"`
	Err  string `json:",omitempty"`
}

// word is what a client tells: one of these.
type word struct {
	Ready  bool         `json:",omitempty"`
	Want   *want        `json:",omitempty"`
	Counts *demo.Counts `json:",omitempty"`
	Err    string       `json:",omitempty"` // why the client gives up
	Done   *done        `json:",omitempty"` // the last word
}

// want asks the origin for the value of a key.
type want struct {
	ID  int
	Key string
}

type done struct {
	Outcomes []demo.Outcome
	Counts   demo.Counts
}

// teller writes messages, from many goroutines.
type teller struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newTeller(w io.Writer) *teller { return &teller{enc: json.NewEncoder(w)} }

// tell drops a message that cannot be written. The other side is gone then, which
// shows where its messages are read.
func (t *teller) tell(message any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.enc.Encode(message)
}
