//go:build unix

package fleettest

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dogpile-go/dogpile/driver"
)

// tagsTooLate has creators tag their values when they have asked the origin.
const tagsTooLate = "has tags read after what they stand for"

// tokenWord is in the key of a tag's token.
const tokenWord = "_tag:"

// losesTags returns a backend that loses the tags of entries with a word in their keys. A
// region over it is one that does not look at those tags.
func losesTags(word string) func(driver.Backend) driver.Backend {
	return func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.get = func(ctx context.Context, items []driver.Item) error {
			err := b.Get(ctx, items)
			for i := range items {
				if it := &items[i]; strings.Contains(it.Key, word) {
					it.Data = untagged(it.Data)
				}
			}
			return err
		}
		return m
	}
}

// untagged returns an entry without its tags. What is none it returns as it is.
func untagged(data []byte) []byte {
	head, payload, _ := bytes.Cut(data, []byte{'|'})
	var of map[string]json.RawMessage
	if json.Unmarshal(head, &of) != nil || of["g"] == nil {
		return data
	}
	delete(of, "g")
	head, err := json.Marshal(of)
	if err != nil {
		return data
	}
	return slices.Concat(head, []byte{'|'}, payload)
}

// isToken reports whether a key is that of a hard or soft token, which has the mark.
func isToken(key, mark string) bool {
	_, rest, is := strings.Cut(key, tokenWord)
	at := strings.IndexAny(rest, ":~")
	return is && at >= 0 && rest[at:at+1] == mark
}

// ignoresDelete returns a backend that does not delete tokens of one kind.
func ignoresDelete(mark string) func(driver.Backend) driver.Backend {
	return func(b driver.Backend) driver.Backend {
		m := proxyOf(b)
		m.delete = func(ctx context.Context, keys []string) error {
			return b.Delete(ctx, slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return isToken(key, mark) }))
		}
		return m
	}
}

// deletesTokensLater says that tokens are deleted a while before they are.
func deletesTokensLater(b driver.Backend) driver.Backend {
	m := proxyOf(b)
	m.delete = func(ctx context.Context, keys []string) error {
		if !strings.Contains(keys[0], tokenWord) {
			return b.Delete(ctx, keys)
		}
		go func() {
			pause(100 * time.Millisecond)
			_ = b.Delete(context.WithoutCancel(ctx), keys) // nobody waits for it
		}()
		return nil
	}
	return m
}

// oldTokens answers, when it is asked for nothing but tokens, with those that it has last found
// together with entries. Where all tags are known beforehand, entries are judged as they
// ought to be, but late callers get what was made under a token that is gone.
func oldTokens(b driver.Backend) driver.Backend {
	m := proxyOf(b)
	var last sync.Map // of []byte by key
	m.get = func(ctx context.Context, items []driver.Item) error {
		alone := !slices.ContainsFunc(items, func(it driver.Item) bool { return !strings.Contains(it.Key, tokenWord) })
		err := b.Get(ctx, items)
		for i := range items {
			it := &items[i]
			switch {
			case !strings.Contains(it.Key, tokenWord) || it.Lease != nil:
			case alone:
				if old, found := last.Load(it.Key); found {
					it.Data = old.([]byte)
				}
			case it.Data != nil:
				last.Store(it.Key, it.Data)
			}
		}
		return err
	}
	return m
}
