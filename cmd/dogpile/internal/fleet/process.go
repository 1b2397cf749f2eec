package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/cmd/dogpile/internal/demo"
)

// process is one of the processes, seen from the one that started it.
type process struct {
	*teller
	run       *Run
	n         int
	creations sync.WaitGroup
}

// process starts the n-th process and returns when it has ended.
func (r *Run) process(n int, part *demo.Task) error {
	// The process dies with its parent (see attributes), and to the kernel that is the
	// thread that started it. As long as this goroutine is locked to the thread,
	// nothing else can end it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(r.ctx, r.fleet.Command[0], r.fleet.Command[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attributes()
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return fmt.Errorf("does not start: %w", err)
	}
	allowed := r.fleet.Silence
	if allowed == 0 {
		allowed = Silence
	}
	silence := time.AfterFunc(allowed, func() {
		r.fail(fmt.Errorf("process %d of %d hangs: it has said nothing for %v", n+1, r.fleet.Size, allowed))
	})
	defer silence.Stop()
	p := &process{teller: newTeller(in), run: r, n: n}
	p.tell(job{r.fleet.Backend, part})
	d, err := p.listen(json.NewDecoder(out), func() { silence.Reset(allowed) })
	if err != nil {
		_ = cmd.Process.Kill()
	}
	ended := cmd.Wait()
	switch {
	case err != nil:
		return err
	case d == nil || ended != nil:
		return fmt.Errorf("has ended too early: %v", cmd.ProcessState)
	}
	r.parts[n] = d.Outcomes
	r.count(n, d.Counts)
	return nil
}

// listen does what the process asks for, until its last word or until no more words
// come. It calls heard at every word.
func (p *process) listen(in *json.Decoder, heard func()) (*done, error) {
	defer p.creations.Wait()
	ctx, cancel := context.WithCancel(p.run.ctx)
	defer cancel()
	for {
		var w word
		err := in.Decode(&w)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("is not understood: %w", err)
		}
		heard()
		switch {
		case w.Ready:
			p.run.ready <- p
		case w.Want != nil:
			p.creations.Go(func() { p.make(ctx, w.Want) })
		case w.Counts != nil:
			p.run.count(p.n, *w.Counts)
		case w.Done != nil:
			return w.Done, nil
		case w.Err != "":
			return nil, fmt.Errorf("has failed: %s", w.Err)
		}
	}
}

// make has the origin create what is wanted, until the run ends.
func (p *process) make(ctx context.Context, w *want) {
	ctx, cancel := context.WithDeadline(ctx, p.run.end())
	defer cancel()
	m := made{ID: w.ID}
	var err error
	if m.Data, err = p.run.create(ctx, w.Key); err != nil {
		m.Err = err.Error()
	}
	if ctx.Err() == nil { // else the run is over, which the process knows too
		p.tell(order{Made: &m})
	}
}
