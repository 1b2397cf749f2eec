package ring_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/internal/memcache/ring"
)

var hashes = []string{"ketama", "ketama_weighted", "rendezvous", "crc32", "modula"}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	one := ring.Server{Addr: "h:1", Weight: 1}
	for _, tc := range []struct {
		name    string
		hash    string
		servers []ring.Server
		want    string
	}{
		{"no servers", "ketama", nil, "the list of servers is empty"},
		{"unknown hash", "fnv", []ring.Server{one}, `hash "fnv" is unknown; there are ketama, ketama_weighted, rendezvous, crc32 and modula`},
		{"hash left out", "", []ring.Server{one}, `hash "" is unknown; there are ketama, ketama_weighted, rendezvous, crc32 and modula`},
		{"same server twice", "crc32", []ring.Server{one, {Addr: "h:1", Weight: 2}}, `server "h:1" is given twice`},
		{"same server in two spellings", "crc32", []ring.Server{{Addr: "h", Weight: 1}, {Addr: "h:011211", Weight: 1}}, `server "h:011211" is given twice`},
		{"same socket twice", "crc32", []ring.Server{{Addr: "unix:/a", Weight: 1}, {Addr: "unix:/a", Weight: 1}}, `server "unix:/a" is given twice`},
		{"weight 0", "crc32", []ring.Server{{Addr: "h:1"}}, `the weight of server "h:1" is not from 1 to 2147483647`},
		{"negative weight", "ketama", []ring.Server{{Addr: "h:1", Weight: -1}}, `the weight of server "h:1" is not from 1 to 2147483647`},
		{"weight in rendezvous", "rendezvous", []ring.Server{one, {Addr: "g:1", Weight: 2}}, `server "g:1" has a weight, and hash "rendezvous" knows none; ketama, ketama_weighted and crc32 do`},
		{"weight in modula", "modula", []ring.Server{one, {Addr: "g:1", Weight: 2}}, `server "g:1" has a weight, and hash "modula" knows none; ketama, ketama_weighted and crc32 do`},
		{"no address", "crc32", []ring.Server{{Weight: 1}}, malformed("")},
		{"no host", "crc32", []ring.Server{{Addr: ":1", Weight: 1}}, malformed(":1")},
		{"no port after the colon", "crc32", []ring.Server{{Addr: "h:", Weight: 1}}, malformed("h:")},
		{"path without unix:", "crc32", []ring.Server{{Addr: "/a", Weight: 1}}, malformed("/a")},
		{"unix: without a path", "crc32", []ring.Server{{Addr: "unix:", Weight: 1}}, malformed("unix:")},
		{"port 0", "crc32", []ring.Server{{Addr: "h:0", Weight: 1}}, malformed("h:0")},
		{"port too high", "crc32", []ring.Server{{Addr: "h:65536", Weight: 1}}, malformed("h:65536")},
		{"port by name", "crc32", []ring.Server{{Addr: "h:memcache", Weight: 1}}, malformed("h:memcache")},
		{"IPv6 without brackets", "crc32", []ring.Server{{Addr: "::1", Weight: 1}}, malformed("::1")},
		{"weight in the address", "crc32", []ring.Server{{Addr: "h:1:2", Weight: 1}}, malformed("h:1:2")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, err := ring.New(tc.hash, tc.servers)
			if r != nil || err == nil || err.Error() != tc.want {
				t.Errorf("New = %v, %v; want the error %s", r, err, tc.want)
			}
		})
	}
}

func malformed(addr string) string {
	return fmt.Sprintf("server %q is neither host:port nor unix:/path; an IPv6 address is written in brackets", addr)
}

func TestTheServersOfACallerAreNotKept(t *testing.T) {
	t.Parallel()
	for _, hash := range hashes {
		servers := goldenServers(false)
		r, err := ring.New(hash, servers)
		if err != nil {
			t.Fatal(err)
		}
		before := picks(r)
		slices.Reverse(servers)
		if !slices.Equal(before, picks(r)) {
			t.Errorf("%s: a change of the caller's slice changed the ring", hash)
		}
	}
}

// In these the place in the list says nothing: two programs agree as soon as
// they have the same servers.
func TestTheOrderOfServersDoesNotCount(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"ketama", "ketama_weighted", "rendezvous"} {
		servers := goldenServers(hash != "rendezvous")
		r, err := ring.New(hash, servers)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(servers)
		reversed, err := ring.New(hash, servers)
		if err != nil {
			t.Fatal(err)
		}
		for i, server := range picks(reversed) {
			if want := len(servers) - 1 - r.Pick(goldenKeys()[i]); server != want {
				t.Errorf("%s: key %d is on server %d of the reversed list, want %d", hash, i, server, want)
			}
		}
	}
}

func TestWeightIsTheShareOfKeys(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"ketama", "ketama_weighted", "crc32"} {
		r, err := ring.New(hash, []ring.Server{{Addr: "a:1", Weight: 1}, {Addr: "b:1", Weight: 8}})
		if err != nil {
			t.Fatal(err)
		}
		first := 0
		for i := range 9000 {
			if r.Pick(fmt.Sprint("key", i)) == 0 {
				first++
			}
		}
		if first < 500 || first > 1700 {
			t.Errorf("%s: a server of weight 1 beside one of 8 has %d of 9000 keys", hash, first)
		}
	}
}

func TestAllServersMayHaveTheHighestWeight(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"ketama", "ketama_weighted", "crc32"} {
		r, err := ring.New(hash, []ring.Server{{Addr: "a:1", Weight: 1<<31 - 1}, {Addr: "b:1", Weight: 1<<31 - 1}, {Addr: "c:1", Weight: 1}})
		if err != nil {
			t.Fatal(err)
		}
		for _, server := range picks(r) {
			if server < 0 || server > 2 {
				t.Fatalf("%s: Pick = %d", hash, server)
			}
		}
	}
}

func picks(r *ring.Ring) []int {
	var out []int
	for _, key := range goldenKeys() {
		out = append(out, r.Pick(key))
	}
	return out
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, hash := range hashes {
		r, err := ring.New(hash, goldenServers(false))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"k", strings.Repeat("k", 250)} {
			if n := testing.AllocsPerRun(100, func() { r.Pick(key) }); n != 0 {
				t.Errorf("%s: Pick of a key of %d bytes allocates %v times", hash, len(key), n)
			}
		}
	}
}

func FuzzPick(f *testing.F) {
	f.Add("", uint8(1), uint8(1), uint8(0))
	f.Add("key", uint8(3), uint8(2), uint8(1))
	f.Add(strings.Repeat("\xff", 2000), uint8(200), uint8(255), uint8(4))
	f.Fuzz(func(t *testing.T, key string, n, weight, hash uint8) {
		name := hashes[int(hash)%len(hashes)]
		servers := make([]ring.Server, 1+int(n)%20)
		for i := range servers {
			servers[i] = ring.Server{Addr: fmt.Sprintf("host%d:%d", i, 11211+i%2), Weight: 1}
		}
		if name != "rendezvous" && name != "modula" {
			servers[0].Weight += int(weight) * int(weight)
		}
		r, err := ring.New(name, servers)
		if err != nil {
			t.Fatal(err)
		}
		server := r.Pick(key)
		if server < 0 || server >= len(servers) {
			t.Fatalf("%s: Pick = %d of %d", name, server, len(servers))
		}
		if again := r.Pick(key); again != server {
			t.Fatalf("%s: Pick = %d, then %d", name, server, again)
		}
	})
}

func ExampleRing_Pick() {
	servers := []ring.Server{
		{Addr: "cache1.example.com:11211", Weight: 1},
		{Addr: "cache2.example.com:11211", Weight: 2},
	}
	r, err := ring.New("ketama_weighted", servers)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range []string{"user:1", "user:2", "user:3", "user:4"} {
		fmt.Println(key, servers[r.Pick(key)].Addr)
	}
	// Output:
	// user:1 cache2.example.com:11211
	// user:2 cache2.example.com:11211
	// user:3 cache2.example.com:11211
	// user:4 cache1.example.com:11211
}

func BenchmarkPick(b *testing.B) {
	for _, hash := range hashes {
		b.Run(hash, func(b *testing.B) {
			r, err := ring.New(hash, goldenServers(false))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				r.Pick("users:user|1234567")
			}
		})
	}
}
