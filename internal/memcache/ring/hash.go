package ring

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
	"sort"
	"strconv"
)

// point is where a piece of the circle that belongs to a server ends.
type point struct {
	value  uint32
	server int
}

// Of libmemcached: MEMCACHED_POINTS_PER_SERVER and
// MEMCACHED_POINTS_PER_SERVER_KETAMA, four of which come from one MD5.
const (
	pointsEach        = 100
	pointsWeighted    = 160
	pointsOfOneDigest = 4
)

// pointName returns what the i-th points of a server are hashed from.
func (n node) pointName(i int) string {
	name := n.host + ":" + strconv.Itoa(int(n.port))
	if n.port == DefaultPort {
		name = n.host
	}
	return name + "-" + strconv.Itoa(i)
}

func evenPoints(list []node) []point {
	var points []point
	for server, n := range list {
		for i := range pointsEach {
			points = append(points, point{oneAtATime(n.pointName(i)), server})
		}
	}
	return points
}

func weightedPoints(list []node) []point {
	total := uint64(0)
	for _, n := range list {
		total += uint64(n.weight)
	}
	var points []point
	for server, n := range list {
		// Rounded to float32 at each step, as there, which decides about points.
		share := float32(float32(n.weight) / float32(total))
		share = float32(share * pointsWeighted)
		share = float32(share / pointsOfOneDigest)
		share = float32(share * float32(len(list)))
		for i := range int(share) {
			digest := md5.Sum([]byte(n.pointName(i)))
			for part := range slices.Chunk(digest[:], 4) {
				points = append(points, point{binary.LittleEndian.Uint32(part), server})
			}
		}
	}
	return points
}

// continuum returns a pick that goes from the hash of the key to the next point.
func continuum(points []point, hash func(string) uint32) func(string) int {
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.server, b.server))
	})
	return func(key string) int {
		h := hash(key)
		i := sort.Search(len(points), func(i int) bool { return points[i].value >= h })
		if i == len(points) {
			i = 0
		}
		return points[i].server
	}
}

// oneAtATime is Bob Jenkins's hash of that name, with signed bytes.
func oneAtATime(key string) uint32 {
	var h uint32
	for i := range len(key) {
		h += uint32(int8(key[i]))
		h += h << 10
		h ^= h >> 6
	}
	h += h << 3
	h ^= h >> 11
	h += h << 15
	return h
}

func md5Of(key string) uint32 {
	var buf [256]byte
	digest := md5.Sum(append(buf[:0], key...))
	return binary.LittleEndian.Uint32(digest[:])
}

func modula(n int) func(string) int {
	return func(key string) int { return int(oneAtATime(key) % uint32(n)) }
}

// buckets returns the pick of python-memcached: a server of weight n is n times
// in the list of buckets.
func buckets(list []node) func(string) int {
	ends := make([]int64, len(list)) // of each server's buckets
	total := int64(0)
	for i, n := range list {
		total += int64(n.weight)
		ends[i] = total
	}
	return func(key string) int {
		h := checksum(key) >> 16 & 0x7fff
		bucket := int64(max(h, 1)) % total
		server := 0
		for ends[server] <= bucket {
			server++
		}
		return server
	}
}

// checksum is crc32.ChecksumIEEE, which would have the key copied to the heap.
func checksum(key string) uint32 {
	c := ^uint32(0)
	for i := range len(key) {
		c = crc32.IEEETable[byte(c)^key[i]] ^ c>>8
	}
	return ^c
}

// rendezvous returns the pick of pymemcache: the server whose name together
// with the key has the highest hash.
func rendezvous(list []node) func(string) int {
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.String()
	}
	return func(key string) int {
		var buf [512]byte
		winner, high := 0, uint32(0)
		for i, name := range names {
			b := append(append(append(buf[:0], name...), '-'), key...)
			score := murmur3(b)
			if i == 0 || score > high || score == high && name > names[winner] {
				winner, high = i, score
			}
		}
		return winner
	}
}

// murmur3 is the 32-bit MurmurHash3 of b with seed 0.
func murmur3(b []byte) uint32 {
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	length := uint32(len(b))
	var h uint32
	for ; len(b) >= 4; b = b[4:] {
		k := bits.RotateLeft32(binary.LittleEndian.Uint32(b)*c1, 15) * c2
		h = bits.RotateLeft32(h^k, 13)*5 + 0xe6546b64
	}
	var tail [4]byte
	copy(tail[:], b)
	// With no tail this changes nothing.
	h ^= bits.RotateLeft32(binary.LittleEndian.Uint32(tail[:])*c1, 15) * c2
	h ^= length
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	h ^= h >> 16
	return h
}
