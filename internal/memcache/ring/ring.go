// Package ring says which of several memcached servers has a key, in the ways
// of the clients that Python programs use, so that programs with the same list
// of servers find the same keys on the same servers:
//
//	hash=            as
//	ketama           pylibmc with {"ketama": True}
//	ketama_weighted  pylibmc with {"ketama_weighted": True}; libketama
//	modula           pylibmc without behaviors
//	rendezvous       pymemcache's HashClient
//	crc32            python-memcached
//
// The order of the list counts in modula and crc32, and in ketama between
// points that coincide. The spelling of hosts counts in ketama,
// ketama_weighted and rendezvous. Where key bytes over 127 are signed
// differently by machines, in ketama and modula, it is as on amd64.
//
// A key has one server, whether that is up or not. Python's clients differ:
// python-memcached goes to another server at once and for 30 s, pymemcache
// after its retries and for 60 s, pylibmc with remove_failed only. None of that
// is here, because the values that a server kept while others were written
// elsewhere would be found again when it is back.
package ring

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
)

// DefaultPort is the port of a Server whose address has none.
const DefaultPort = 11211

// Server is one server of a list.
type Server struct {
	// Addr is host:port, host, [IPv6]:port, [IPv6] or unix:/path, with the host
	// spelled as the other programs spell it.
	Addr string
	// Weight, of at least 1, is the server's share of the keys. It is 1 for all
	// servers in rendezvous and modula.
	Weight int
}

// Ring finds the server of a key. It is safe for concurrent use.
type Ring struct {
	pick func(key string) int
}

// New returns the Ring of servers under the hash of that name. It fails if the
// name is unknown, if servers is empty or has the same server twice, and if an
// address or a weight is not possible. It does not keep servers.
func New(hash string, servers []Server) (*Ring, error) {
	list, err := parse(servers)
	if err != nil {
		return nil, err
	}
	weighted := false
	for i, n := range list {
		if n.weight == 1 {
			continue
		}
		if hash == "rendezvous" || hash == "modula" {
			return nil, fmt.Errorf("server %q has a weight, and hash %q knows none; ketama, ketama_weighted and crc32 do", servers[i].Addr, hash)
		}
		weighted = true
	}
	r := new(Ring)
	switch hash {
	case "ketama":
		points := evenPoints
		if weighted {
			points = weightedPoints
		}
		r.pick = continuum(points(list), oneAtATime)
	case "ketama_weighted":
		r.pick = continuum(weightedPoints(list), md5Of)
	case "modula":
		r.pick = modula(len(list))
	case "rendezvous":
		r.pick = rendezvous(list)
	case "crc32":
		r.pick = buckets(list)
	default:
		return nil, fmt.Errorf("hash %q is unknown; there are ketama, ketama_weighted, rendezvous, crc32 and modula", hash)
	}
	if len(list) == 1 {
		r.pick = func(string) int { return 0 }
	}
	return r, nil
}

// Pick returns the index, in the list given to New, of the server that has key.
// It allocates nothing for a key of up to 250 bytes.
func (r *Ring) Pick(key string) int { return r.pick(key) }

// node is a Server taken apart.
type node struct {
	host   string // without brackets, or the path of a socket
	port   uint16 // 0 for a socket
	weight int
}

func parse(servers []Server) ([]node, error) {
	if len(servers) == 0 {
		return nil, errors.New("the list of servers is empty")
	}
	list := make([]node, 0, len(servers))
	seen := make(map[string]bool, len(servers))
	for _, s := range servers {
		n, err := parseAddr(s.Addr)
		if err != nil {
			return nil, err
		}
		if seen[n.String()] {
			return nil, fmt.Errorf("server %q is given twice", s.Addr)
		}
		seen[n.String()] = true
		if s.Weight < 1 || s.Weight > math.MaxInt32 {
			return nil, fmt.Errorf("the weight of server %q is not from 1 to %d", s.Addr, math.MaxInt32)
		}
		n.weight = s.Weight
		list = append(list, n)
	}
	return list, nil
}

func parseAddr(addr string) (node, error) {
	if strings.HasPrefix(addr, "unix:/") {
		return node{host: addr[len("unix:"):]}, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port, err = net.SplitHostPort(addr + ":" + strconv.Itoa(DefaultPort))
	}
	number, notNumber := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || strings.Contains(host, "/") || notNumber != nil || number == 0 {
		return node{}, fmt.Errorf("server %q is neither host:port nor unix:/path; an IPv6 address is written in brackets", addr)
	}
	return node{host: host, port: uint16(number)}, nil
}

// String is the server's name in pymemcache.
func (n node) String() string {
	if n.port == 0 {
		return n.host
	}
	return n.host + ":" + strconv.Itoa(int(n.port))
}
