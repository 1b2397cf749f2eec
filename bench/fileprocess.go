package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// fileEnv has the fileRole of a process that the bench has started of itself.
const fileEnv = "DOGPILE_BENCH_FILE"

// A fileRole says what a process opens.
type fileRole struct {
	Kind, Path string
	Keys       int
	Fill       bool // store all of them first
}

// A fileOrder is to get the keys in turn, or to set them, for so long.
type fileOrder struct {
	Writes bool
	For    time.Duration
}

// fileNews is what a process tells: first that it is ready, then what it did.
type fileNews struct {
	DBM  string // which one Python has
	Ops  int
	Took time.Duration
	Err  string
}

// workFile obeys the orders that come from in until there are no more.
func workFile(role string, in io.Reader, out io.Writer) error {
	told := json.NewEncoder(out)
	s, entries, err := openRole(role)
	if err != nil {
		return told.Encode(fileNews{Err: err.Error()})
	}
	defer s.close()
	told.Encode(fileNews{})
	at := 0
	for d := json.NewDecoder(in); ; {
		var o fileOrder
		if err := d.Decode(&o); err != nil {
			return nil
		}
		n, err := s.obey(o, entries, &at)
		if err != nil {
			n.Err = err.Error()
		}
		told.Encode(n)
	}
}

func openRole(role string) (*fileStore, []stored, error) {
	var r fileRole
	if err := json.Unmarshal([]byte(role), &r); err != nil {
		return nil, nil, err
	}
	for _, k := range fileKinds {
		if k.name != r.Kind || k.open == nil {
			continue
		}
		s, err := k.open(r.Path)
		if err != nil {
			return nil, nil, err
		}
		entries := fileEntries(r.Keys)
		if r.Fill {
			if err := s.fill(entries); err != nil {
				s.close()
				return nil, nil, err
			}
		}
		// No kind gains from where it has put neighbours. Processes differ.
		rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		return s, entries, nil
	}
	return nil, nil, fmt.Errorf("no kind of file %q", r.Kind)
}

// obey goes on where the last order ended, and does something at least once.
func (s *fileStore) obey(o fileOrder, entries []stored, at *int) (n fileNews, err error) {
	for begin := time.Now(); n.Ops == 0 || n.Took < o.For; n.Took = time.Since(begin) {
		e := entries[*at%len(entries)]
		if o.Writes {
			err = s.set(e.key, e.value)
		} else if v, failed := s.get(e.key); failed != nil {
			err = failed
		} else {
			err = e.check(v)
		}
		if err != nil {
			return n, err
		}
		*at++
		n.Ops++
	}
	return n, nil
}

// A fileProcess has a file open and obeys orders.
type fileProcess struct {
	kind string
	dbm  string
	cmd  *exec.Cmd
	in   *json.Encoder
	out  *json.Decoder
}

//go:embed dbmpeer.py
var dbmPeer string

// startFile starts a process that has opened a file of that kind.
func startFile(k fileKind, r fileRole) (*fileProcess, error) {
	r.Kind = k.name
	// Debian's Python, for which it installs dogpile.cache.
	cmd := exec.Command("/usr/bin/python3", "-I", "-c", dbmPeer, r.Path, strconv.Itoa(r.Keys), strconv.FormatBool(r.Fill))
	if k.open != nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		role, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		cmd = exec.Command(self)
		cmd.Env = append(os.Environ(), fileEnv+"="+string(role))
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = dieWithParent()
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		if k.open == nil {
			err = fmt.Errorf("%w: apt-get install python3-dogpile.cache python3-gdbm", err)
		}
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	p := &fileProcess{k.name, "", cmd, json.NewEncoder(in), json.NewDecoder(out)}
	ready, err := p.next()
	if err != nil {
		p.Close()
		return nil, err
	}
	p.dbm = ready.DBM
	return p, nil
}

// next waits for what the process tells next. One that is silent for too long
// is killed.
func (p *fileProcess) next() (n fileNews, err error) {
	timer := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.out.Decode(&n); errors.Is(err, io.EOF) {
		return n, fmt.Errorf("%s: the process has ended", p.kind)
	} else if err != nil {
		return n, fmt.Errorf("%s: %w", p.kind, err)
	}
	if n.Err != "" {
		return n, fmt.Errorf("%s: %s", p.kind, n.Err)
	}
	return n, nil
}

func (p *fileProcess) order(o fileOrder) error {
	if err := p.in.Encode(o); err != nil {
		return fmt.Errorf("%s: %w", p.kind, err)
	}
	return nil
}

// Close kills the process.
func (p *fileProcess) Close() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}
