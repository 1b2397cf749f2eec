package ring_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile/internal/memcache/ring"
)

// Where the Python clients have goldenKeys, as printed by
// "/usr/bin/python3 testdata/where.py golden": a digit for each key. A - is a
// key that pymemcache refuses.
var golden = []struct {
	hash     string
	weighted bool
	servers  string
}{
	{"ketama", false, "0042200124201302212220033100423343030421112101244142302"},
	{"ketama", true, "0422224224433441411214434444244444442424244124424234212"},
	{"ketama_weighted", false, "1302441101100344032333323014412202410032342343032110202"},
	{"ketama_weighted", true, "1342444101442344414423024424432212414042342243044240202"},
	{"modula", false, "0324044141241003232403344203310430012301014314142141424"},
	{"rendezvous", false, "001100244403300001303122300040002434300130202144--11430"},
	{"crc32", false, "2133121234244002343144141230410310104232321402221220140"},
	{"crc32", true, "4124142232044212404441202142140144224213444232444414144"},
}

func goldenKeys() []string {
	var keys []string
	for i := range 48 {
		keys = append(keys, fmt.Sprintf("key%d", i))
	}
	return append(keys, "schlüssel", "ключ", "x", strings.Repeat("k", 250),
		"zero5221",                           // whose CRC is 0 where it counts
		"cache1.example.com-0", "10.0.0.3-7") // which are points of ketama
}

func goldenServers(weighted bool) []ring.Server {
	weights := []int{1, 1, 1, 1, 1}
	if weighted {
		weights = []int{1, 2, 3, 1, 7}
	}
	return []ring.Server{
		{Addr: "cache1.example.com", Weight: weights[0]},
		{Addr: "cache2.example.com:11212", Weight: weights[1]},
		{Addr: "10.0.0.3:11211", Weight: weights[2]},
		{Addr: "[::1]:22122", Weight: weights[3]},
		{Addr: "unix:/run/memcached.sock", Weight: weights[4]},
	}
}

func TestPickIsThatOfThePythonClients(t *testing.T) {
	t.Parallel()
	keys := goldenKeys()
	for _, row := range golden {
		t.Run(fmt.Sprintf("%s weighted %t", row.hash, row.weighted), func(t *testing.T) {
			t.Parallel()
			if len(row.servers) != len(keys) {
				t.Fatalf("the table has %d keys, not %d", len(row.servers), len(keys))
			}
			r, err := ring.New(row.hash, goldenServers(row.weighted))
			if err != nil {
				t.Fatal(err)
			}
			for i, key := range keys {
				got := r.Pick(key)
				if want := row.servers[i]; want != '-' && got != int(want-'0') {
					t.Errorf("%.20q is on server %d, want %c", key, got, want)
				}
			}
		})
	}
}

// Two names have the same hash with this key; pymemcache takes the greater one.
func TestRendezvousWithATie(t *testing.T) {
	t.Parallel()
	low, high := ring.Server{Addr: "cache93667.example.com:11211", Weight: 1}, ring.Server{Addr: "cache9922.example.com:11211", Weight: 1}
	for want, servers := range [][]ring.Server{{high, low}, {low, high}} {
		r, err := ring.New("rendezvous", servers)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Pick("tie"); got != want {
			t.Errorf("of %v it is server %d", servers, got)
		}
	}
}
