package redis

import (
	"strconv"
	"strings"
	"sync"
)

// slots is how many slots a Cluster has.
const slots = 16384

// lockKey returns the key of the lease on key. On a Cluster it is in the slot
// of key, since a script may only touch keys of one slot.
func (c *core) lockKey(key string) string {
	switch {
	case !c.cluster || tagged(key):
		// dogpile.cache has the same name. A hash tag in key makes it the same slot.
		return c.lockPrefix + key
	case key != "" && !strings.Contains(key, "}"):
		// The whole key becomes the tag. The ~ tells this lease from the one on the
		// key "{" + key + "}", which has a tag already.
		return c.lockPrefix + "{" + key + "}~"
	}
	// A } in key would end the tag too early, and {} is no tag.
	return c.lockPrefix + "{" + slotTags()[slot(key)] + "}" + key
}

// keys returns the keys of the lease on key, and of its entry.
func (c *core) keys(key string) [2]string { return [2]string{c.lockKey(key), key} }

// tagged reports whether key has a hash tag, a part in braces that alone
// decides its slot.
func tagged(key string) bool { return tag(key) != key }

// tag returns the part of key that decides its slot.
func tag(key string) string {
	open := strings.IndexByte(key, '{')
	if open < 0 {
		return key
	}
	end := strings.IndexByte(key[open+1:], '}')
	if end <= 0 {
		return key
	}
	return key[open+1 : open+1+end]
}

func slot(key string) int { return int(crc16(tag(key))) % slots }

// slotTags returns a tag for each slot. Only keys with braces that make no tag
// need it, so that it is made when the first of these comes.
var slotTags = sync.OnceValue(func() []string {
	tags := make([]string, slots)
	for n, left := 0, slots; left > 0; n++ {
		t := "~" + strconv.FormatInt(int64(n), 36)
		if s := slot(t); tags[s] == "" {
			tags[s] = t
			left--
		}
	}
	return tags
})

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()

// crc16 is the XMODEM variant, which Cluster uses.
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^s[i]]
	}
	return crc
}
