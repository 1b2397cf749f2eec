package dogpile_test

import (
	"strings"
	"testing"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/internal/funckey"
)

func TestManglers(t *testing.T) {
	t.Parallel()
	bang := func(key string) string { return key + "!" }
	for _, row := range []struct {
		name      string
		m         dogpile.Mangler
		key, want string
	}{
		{"sha1", dogpile.SHA1, "some_key", "53def077a4264bd3183d4eb21b1f56f883e1b572"},
		{"sha1 of a function's key", dogpile.SHA1, "tests.cache.test_decorator:one|1 2", "aead490a8ace2d69a00160f1fd8fd8a16552c24f"},
		{"sha1 of nothing", dogpile.SHA1, "", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		{"sha256", dogpile.SHA256, "some_key", "95251fdc9fdd3f92e7aed141fe7fd06b2aeb9dedb6f7ac08e7d9babc7e898b49"},
		{"prefix", dogpile.Prefix("p:"), "k", "p:k"},
		{"one short of n", dogpile.IfLonger(4, bang), "abc", "abc"},
		{"n", dogpile.IfLonger(4, bang), "abcd", "abcd!"},
		{"over n", dogpile.IfLonger(4, bang), "abcde", "abcde!"},
		{"code points, not bytes", dogpile.IfLonger(4, bang), "éèê", "éèê"},
		{"n code points", dogpile.IfLonger(4, bang), "éèê€", "éèê€!"},
		{"always", dogpile.IfLonger(0, bang), "", "!"},
		{"empty chain", dogpile.Chain(), "k", "k"},
		{"left to right", dogpile.Chain(bang, dogpile.Prefix("a"), dogpile.Prefix("b")), "k", "bak!"},
	} {
		if got := row.m(row.key); got != row.want {
			t.Errorf("%s: %q became %q, want %q", row.name, row.key, got, row.want)
		}
	}
}

func TestChainCopies(t *testing.T) {
	t.Parallel()
	ms := []dogpile.Mangler{dogpile.Prefix("a")}
	m := dogpile.Chain(ms...)
	ms[0] = nil
	if got := m("k"); got != "ak" {
		t.Error(got)
	}
}

func TestManglerNamed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"sha1": dogpile.SHA1("k"), "sha256": dogpile.SHA256("k")} {
		if m, err := dogpile.ManglerNamed(name); err != nil || m("k") != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := dogpile.ManglerNamed("md5")
	if err == nil || !strings.HasPrefix(err.Error(), `unknown mangler "md5" (forgotten import?); known: sha1, sha256`) {
		t.Errorf("got %v", err)
	}
}

// FuzzMemcachedKeys: what functions make of any argument is, once mangled,
// a legal key of memcached.
func FuzzMemcachedKeys(f *testing.F) {
	f.Add("user", "a b", []byte("\x00\xff"), 3)
	f.Add("one|foo", strings.Repeat("é", 100), []byte{}, 60)
	mangle := dogpile.Chain(dogpile.Prefix("users:"), dogpile.IfLonger(250, dogpile.SHA256))
	type args struct {
		S []string
		B []byte
	}
	enc, err := funckey.For[args]()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, s string, b []byte, n int) {
		a := args{B: b}
		for range n & 63 {
			a.S = append(a.S, s)
		}
		key, err := enc.Append(append(funckey.AppendName(nil, name), '|'), &a)
		if err != nil {
			t.Fatal(err)
		}
		mangled := mangle(string(key))
		if len(mangled) == 0 || len(mangled) > 250 {
			t.Fatalf("%d bytes: %q", len(mangled), mangled)
		}
		for _, c := range []byte(mangled) {
			if c <= ' ' || c >= 0x7f {
				t.Fatalf("byte %#x in %q", c, mangled)
			}
		}
	})
}
