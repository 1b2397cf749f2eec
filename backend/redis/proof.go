package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/dogpile-go/dogpile/driver"
)

var (
	errReplica  = errors.New("the server is no master any more")
	errReplaced = errors.New("the client reads from another server by now")
	errAlone    = errors.New("the node serves nothing, since it sees too few others")
	errNoSlots  = errors.New("the node has no slots")
)

// ask has the proof of the feed renewed, unless the answer to the last question is
// outstanding.
func (f *feed) ask() {
	if !f.asking.CompareAndSwap(false, true) {
		return
	}
	if !f.core.life.Go(func() {
		defer f.asking.Store(false)
		f.prove()
	}) {
		f.asking.Store(false)
	}
}

// prove asks the server a question, whose answer is a proof. A connection that does not
// answer is given up.
func (f *feed) prove() {
	patience := f.core.timeout
	if patience == 0 {
		patience = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(f.core.life.Context(), patience)
	defer cancel()
	question, answered := f.question()
	asked := driver.Now()
	results := f.conn.DoMulti(ctx, question...)
	for _, res := range results {
		if res.NonRedisError() != nil {
			f.giveUp()
			return
		}
	}
	f.late.Store(driver.Now()-asked > f.limit())
	switch err := answered(results); {
	case errors.Is(err, errReplaced):
		f.giveUp()
	case err == nil:
		f.proof.Load().Renew(asked)
	} // else copies end
}

// question returns commands that ask a server whether it is still the one to read from, and
// what returns an error unless they were answered with yes: copies must not last where an
// entry that is read by itself would be another. A server that is busy with a script answers
// with an error as well.
func (f *feed) question() (question rueidis.Commands, answered func([]rueidis.RedisResult) error) {
	b := f.conn.B()
	switch {
	case f.core.cluster:
		return rueidis.Commands{b.Arbitrary("CLUSTER", "INFO").Build(), b.Arbitrary("CLUSTER", "SLOTS").Build()}, f.hasSlots
	case f.mute.Load():
		// It deletes a key that nobody has: it changes nothing, and a replica refuses it.
		probe := one("DEL", f.core.lockPrefix+rand.Text())
		return rueidis.Commands{probe.build(b)}, f.takesWrites
	}
	return rueidis.Commands{b.Arbitrary("ROLE").Build()}, f.isMaster
}

func (f *feed) isMaster(answers []rueidis.RedisResult) error {
	parts, err := answers[0].ToArray()
	if reply, refused := rueidis.IsRedisErr(err); refused && begins(reply, "NOPERM", "ERR") {
		f.mute.Store(true) // it is not allowed, or not known
	}
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return errReplica
	}
	if role, _ := parts[0].ToString(); role != "master" {
		return errReplica
	}
	return f.replaced()
}

func (f *feed) takesWrites(answers []rueidis.RedisResult) error {
	if err := answers[0].Error(); err != nil {
		return err
	}
	return f.replaced()
}

// replaced returns an error if the client reads from another server by now. A master that
// Sentinel has replaced need not know: it may be reached from here, and not by the Sentinels.
func (f *feed) replaced() error {
	if cl := f.core.link.now.Load(); cl != f.client || hosts(cl) != f.hosts {
		return errReplaced
	}
	return nil
}

// hosts returns what a client that Sentinel tells the master is connected to, and "" for any
// other.
func hosts(cl *client) string {
	if cl.Mode() != rueidis.ClientModeSentinel {
		return ""
	}
	var all []string
	for addr := range cl.Nodes() {
		all = append(all, addr)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// hasSlots returns an error unless the node serves slots. If they are not those that it had
// when it was asked last, nothing more is proved of what was read until now: the keys of a slot
// that another node has taken are changed there, and those that are not here any more, or not
// with all versions, are not announced. A node that serves a slot again that it had lost does
// so under another epoch.
func (f *feed) hasSlots(answers []rueidis.RedisResult) error {
	info, err := answers[0].ToString()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok") {
		return errAlone
	}
	_, epoch, _ := strings.Cut(info, "cluster_my_epoch:")
	epoch, _, _ = strings.Cut(epoch, "\r\n")
	var own []string
	err = eachRange(answers[1], f.addr, func(first, last int64, name string) {
		if name == f.addr {
			own = append(own, fmt.Sprintf("%d-%d", first, last))
		}
	})
	if err == nil && len(own) == 0 {
		err = errNoSlots
	}
	if err != nil {
		return err
	}
	said := epoch + ": " + strings.Join(own, " ")
	if f.said != "" && f.said != said {
		f.proof.Store(new(driver.Proof))
	}
	f.said = said
	return nil
}
