package memcache_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dogpile-go/dogpile/internal/memcache"
)

const (
	unanswered = memcache.Unanswered
	found      = memcache.Done
	missing    = memcache.Missing
)

var long = strings.Repeat("x", 5000)

// misbehaviours are what a server may say to gets of "a" and "b".
var misbehaviours = []struct {
	name string
	says string // {0} and {1} are the opaque tokens of the two commands
	hang bool   // the connection stays open after that
	want [2]memcache.Status
	err  string
}{
	{"nothing", "", false, [2]memcache.Status{}, "closed the connection"},
	{"nothing, for ever", "", true, [2]memcache.Status{}, "no answer within 1s"},
	{"one answer only", "VA 1 c1 f0 O{0}\r\na\r\n", false, [2]memcache.Status{found}, "closed the connection"},
	{"one answer only, for ever", "EN O{0}\r\n", true, [2]memcache.Status{missing}, "no answer within 1s"},
	{"torn line", "VA 1 c1 f0 O{0}\r\na\r\nVA 1 c1 f0 O{1}", false, [2]memcache.Status{found}, "closed the connection"},
	{"torn end of line", "EN O{0}\r\nEN O{1}\r", false, [2]memcache.Status{missing}, "closed the connection"},
	{"torn line, for ever", "VA 1 c1", true, [2]memcache.Status{}, "no answer within 1s"},
	{"torn value", "VA 10 c1 f0 O{0}\r\na", false, [2]memcache.Status{}, "closed the connection"},
	{"torn large value", "VA 100000 c1 f0 O{0}\r\na", false, [2]memcache.Status{}, "closed the connection"},
	{"torn huge value", "VA 100000000 c1 f0 O{0}\r\na", false, [2]memcache.Status{}, "closed the connection"},
	{"torn value, for ever", "VA 10 c1 f0 O{0}\r\na", true, [2]memcache.Status{}, "no answer within 1s"},
	{"torn large value, for ever", "VA 100000 c1 f0 O{0}\r\na", true, [2]memcache.Status{}, "no answer within 1s"},
	{"value longer than said", "VA 1 c1 f0 O{0}\r\naa\r\n", true, [2]memcache.Status{}, "longer than"},
	{"value shorter than said", "VA 3 c1 f0 O{0}\r\na\r\nEN O{1}\r\n", true, [2]memcache.Status{}, "longer than"},
	{"large value longer than said", "VA 40000 c1 f0 O{0}\r\n" + strings.Repeat("x", 40001) + "\r\n", true, [2]memcache.Status{}, "longer than"},
	{"answers in another order", "VA 1 c1 f0 O{1}\r\nb\r\nVA 1 c1 f0 O{0}\r\na\r\n", true, [2]memcache.Status{}, "another command"},
	{"the same answer twice", "VA 1 c1 f0 O{0}\r\na\r\nVA 1 c1 f0 O{0}\r\na\r\n", true, [2]memcache.Status{found}, "another command"},
	{"an answer left out", "EN O{1}\r\n", true, [2]memcache.Status{}, "another command"},
	{"answer of another connection", "EN Oabc\r\n", true, [2]memcache.Status{}, "another command"},
	{"opaque token with a zero before it", "EN O0{0}\r\n", true, [2]memcache.Status{}, "another command"},
	{"empty opaque token", "EN O\r\n", true, [2]memcache.Status{}, "another command"},
	{"no opaque token", "EN\r\n", true, [2]memcache.Status{}, "without the opaque token"},
	{"two opaque tokens", "EN O{0} O{1}\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"answer to ms", "HD c1 O{0}\r\n", true, [2]memcache.Status{}, "another command"},
	{"refusal of ms", "NS O{0}\r\n", true, [2]memcache.Status{}, "another command"},
	{"EX", "EX O{0}\r\n", true, [2]memcache.Status{}, "another command"},
	{"answer to md", "NF O{0}\r\n", true, [2]memcache.Status{}, "another command"},
	{"answer to mn", "MN\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"classic answer", "VALUE a 0 1\r\na\r\nEND\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"ERROR", "ERROR\r\n", true, [2]memcache.Status{}, `"ERROR"`},
	{"ERROR with a reason", "ERROR Too many open connections\r\n", false, [2]memcache.Status{}, "Too many open connections"},
	{"CLIENT_ERROR", "CLIENT_ERROR bad data chunk\r\n", true, [2]memcache.Status{}, "bad data chunk"},
	{"CLIENT_ERROR for the second", "EN O{0}\r\nCLIENT_ERROR unauthenticated\r\n", true, [2]memcache.Status{missing}, "unauthenticated"},
	{"SERVER_ERROR without a reason", "SERVER_ERROR\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"no line end", long + long, true, [2]memcache.Status{}, "without an end"},
	{"long line", long + "\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"line feed alone", "EN O{0}\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"empty line", "\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"one letter", "E\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"lower case", "en O{0}\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"longer code", "ENO {0}\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"two spaces", "EN  O{0}\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"space at the end", "EN O{0} \r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"value without a length", "VA\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"flags in place of a length", "VA c1 f0 O{0}\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"negative length", "VA -1 c1 f0 O{0}\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"signed length", "VA +1 c1 f0 O{0}\r\na\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"length beyond any server's", "VA 1073741825 c1 f0 O{0}\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"length beyond 64 bits", "VA 18446744073709551617 c1 f0 O{0}\r\na\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"no CAS", "VA 1 f0 O{0}\r\na\r\n", true, [2]memcache.Status{}, "lacks"},
	{"no flags", "VA 1 c1 O{0}\r\na\r\n", true, [2]memcache.Status{}, "lacks"},
	{"two CAS", "VA 1 c1 c2 f0 O{0}\r\na\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"CAS beyond 64 bits", "VA 1 c18446744073709551616 f0 O{0}\r\na\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"flags beyond 32 bits", "VA 1 c1 f4294967296 O{0}\r\na\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"no number", "VA 1 cx f0 O{0}\r\na\r\n", true, [2]memcache.Status{}, "unexpected reply"},
	{"more than was asked for", "EN O{0}\r\nEN O{1}\r\nEN O{1}\r\n", true, [2]memcache.Status{missing, missing}, ""},
}

func TestMisbehaviour(t *testing.T) {
	for _, row := range misbehaviours {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{serve: func(n int, p *peer) {
					if n > 0 {
						behave(n, p)
						return
					}
					if !p.greet() {
						return
					}
					first, _ := p.next()
					second, _ := p.next()
					if p.say(fillIn(row.says, []command{first, second})) && row.hang {
						p.next()
					}
				}}
				c := f.client(t, memcache.Options{})
				ops := []memcache.Op{{Key: "a"}, {Key: "b"}}
				err := c.Do(t.Context(), ops)
				if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err) || !strings.HasPrefix(err.Error(), "memcached fake:1: ")) {
					t.Errorf("Do = %v, want %s", err, row.err)
				}
				if ops[0].Status != row.want[0] || ops[1].Status != row.want[1] {
					t.Errorf("Status = %v, %v", ops[0].Status, ops[1].Status)
				}
				if ops[0].Status == found && string(ops[0].Value) != "a" || ops[1].Value != nil || ops[0].Err != nil || ops[1].Err != nil {
					t.Errorf("answers %+v", ops)
				}

				time.Sleep(time.Second)
				ops = []memcache.Op{{Key: "c"}}
				if err := c.Do(t.Context(), ops); err != nil {
					t.Fatal(err)
				}
				isFor(t, ops[0], "c")
				if n := f.dials.Load(); n != 2 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// A reply that no server gives to the command is not taken for an answer.
func TestReplyToAnotherKindOfCommand(t *testing.T) {
	for _, row := range []struct {
		name string
		op   memcache.Op
		says []string
	}{
		{"get", memcache.Op{}, []string{"HD c1 f0 O{0}", "NF O{0}", "NS O{0}", "EX O{0}"}},
		{"get without value", memcache.Op{NoValue: true}, []string{"VA 1 c1 f0 O{0}\r\na", "NF O{0}", "NS O{0}", "EX O{0}"}},
		{"set", memcache.Op{Kind: set}, []string{"VA 1 c1 f0 O{0}\r\na", "EN O{0}", "HD O{0}"}},
		{"delete", memcache.Op{Kind: remove}, []string{"VA 1 c1 f0 O{0}\r\na", "EN O{0}", "NS O{0}"}},
	} {
		for _, says := range row.says {
			t.Run(row.name+" "+says[:2], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &fake{serve: func(_ int, p *peer) {
						if !p.greet() {
							return
						}
						cmd, _ := p.next()
						p.say(fillIn(says, []command{cmd}) + "\r\n")
						p.next()
					}}
					c := f.client(t, memcache.Options{})
					ops := []memcache.Op{row.op}
					ops[0].Key = "a"
					if err := c.Do(t.Context(), ops); err == nil || ops[0].Status != unanswered {
						t.Errorf("Do = %v, %+v", err, ops[0])
					}
				})
			})
		}
	}
}

// TestOddButSound is what a server may say and a connection survives.
func TestOddButSound(t *testing.T) {
	for _, row := range []struct {
		name string
		says string
		want [2]memcache.Status
		errs [2]string
	}{
		{"unknown flags", "VA 1 t-1 c1 f0 s1 Kfoo O{0} h\r\na\r\nEN O{1} k\r\n", [2]memcache.Status{found, missing}, [2]string{}},
		{"server error", "SERVER_ERROR out of memory writing get response\r\nEN O{1}\r\n", [2]memcache.Status{unanswered, missing}, [2]string{"out of memory writing get response"}},
		{"server error as long as a line may be", "SERVER_ERROR " + strings.Repeat("é", 2000) + "\r\nEN O{1}\r\n", [2]memcache.Status{unanswered, missing}, [2]string{"server error"}},
		{"too large to read", "SERVER_ERROR object too large for cache\r\nEN O{1}\r\n", [2]memcache.Status{unanswered, missing}, [2]string{"too large for cache"}},
		{"largest numbers", "VA 1 c18446744073709551615 f4294967295 O{0}\r\na\r\nEN O{1}\r\n", [2]memcache.Status{found, missing}, [2]string{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{serve: func(n int, p *peer) {
					if !p.greet() {
						return
					}
					first, _ := p.next()
					second, _ := p.next()
					p.say(fillIn(row.says, []command{first, second}))
					third, _ := p.next()
					p.answer(third)
					p.next()
				}}
				c := f.client(t, memcache.Options{})
				ops := []memcache.Op{{Key: "a"}, {Key: "b"}}
				if err := c.Do(t.Context(), ops); err != nil {
					t.Fatal(err)
				}
				for i, op := range ops {
					if op.Status != row.want[i] || (op.Err != nil) != (row.errs[i] != "") || op.Err != nil && (!strings.Contains(op.Err.Error(), row.errs[i]) || errors.Is(op.Err, memcache.ErrTooLarge) || len(op.Err.Error()) > 500) {
						t.Errorf("op %d: %+v", i, op)
					}
				}
				ops = []memcache.Op{{Key: "c"}}
				if err := c.Do(t.Context(), ops); err != nil {
					t.Fatal(err)
				}
				isFor(t, ops[0], "c")
				if n := f.dials.Load(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// A server that speaks before it is asked, or something other than memcached's
// protocol, is not used at all.
func TestGreeting(t *testing.T) {
	for _, row := range []struct{ name, says, want string }{
		{"nothing", "", "no answer within 1s"},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n", `unexpected reply "HTTP/1.1 400 Bad Request"`},
		{"Redis", "-ERR unknown command 'mn'\r\n", "unexpected reply"},
		{"an old server", "ERROR\r\n", `unexpected reply "ERROR"`},
		{"a server that asks for authentication", "CLIENT_ERROR unauthenticated\r\n", "CLIENT_ERROR unauthenticated"},
		{"too many connections", "ERROR Too many open connections\r\n", "Too many open connections"},
		{"line feed alone", "MN\n", "unexpected reply"},
		{"without an end", strings.Repeat("x", 10000), "without an end"},
		{"torn", "M", "no answer within 1s"},
		{"an answer at once", "MN\r\nHD O1\r\n", "repl"},
		{"a value at once", "MN\r\nVA 1 c1 f0 O1\r\na\r\n", "repl"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{serve: func(n int, p *peer) {
					p.line()
					p.say(row.says)
					p.line()
				}}
				c := f.client(t, memcache.Options{})
				ops := []memcache.Op{{Key: "a"}}
				err := c.Do(t.Context(), ops)
				if err == nil || !strings.Contains(err.Error(), row.want) || ops[0].Status != unanswered {
					t.Errorf("Do = %v, %+v", err, ops[0])
				}
			})
		})
	}
}

// What a server says to a login may hold the password; errors do not.
func TestPasswordIsNotShown(t *testing.T) {
	for _, says := range []string{"unknown command: joe s3cret\r\n", "STORED\r\nunknown command: joe s3cret\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{serve: func(_ int, p *peer) {
				p.line()
				p.line()
				p.line()
				p.say(says)
				p.line()
			}}
			c := f.client(t, memcache.Options{Credentials: known("joe", "s3cret")})
			err := c.Do(t.Context(), []memcache.Op{{Key: "a"}})
			if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "unknown command") {
				t.Errorf("Do = %v", err)
			}
		})
	}
}
