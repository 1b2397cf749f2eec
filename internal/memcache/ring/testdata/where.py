"""Where Python's clients keep keys.

where.py golden               the tables of golden_test.go: libmemcached itself is
                              asked, over ctypes, and the others' own functions
where.py set CLIENT SERVER…   sets p0 … p999; a SERVER is host:port*weight
where.py get CLIENT SERVER…   prints those of g0 … g999 that it does not find
"""

import sys

KEYS = ["key%d" % i for i in range(48)] + ["schlüssel", "ключ", "x", "k" * 250]
KEYS += ["zero5221"]  # whose CRC is 0 where it counts
KEYS += ["cache1.example.com-0", "10.0.0.3-7"]  # which are points of ketama
HOSTS = [
    ("cache1.example.com", 11211),
    ("cache2.example.com", 11212),
    ("10.0.0.3", 11211),
    ("::1", 22122),
    ("/run/memcached.sock", 0),
]
WEIGHTS = [1, 2, 3, 1, 7]
TIE = ["cache9922.example.com:11211", "cache93667.example.com:11211"]  # have the same hash with "tie"
BEHAVIORS = {"ketama": {"ketama": True}, "ketama_weighted": {"ketama_weighted": True}, "modula": {}}


def libmemcached(behaviors, weights):
    import ctypes

    lib = ctypes.CDLL("libmemcached.so.11")
    lib.memcached_create.restype = ctypes.c_void_p
    mc = ctypes.c_void_p(lib.memcached_create(None))
    for name in behaviors:
        number = {"ketama": 3, "ketama_weighted": 16}[name]
        assert lib.memcached_behavior_set(mc, number, ctypes.c_uint64(1)) == 0
    for (host, port), weight in zip(HOSTS, weights):
        if port:
            rc = lib.memcached_server_add_with_weight(mc, host.encode(), port, weight)
        else:
            rc = lib.memcached_server_add_unix_socket_with_weight(mc, host.encode(), weight)
        assert rc == 0, rc

    def pick(key):
        key = key.encode()
        return lib.memcached_generate_hash(mc, key, ctypes.c_size_t(len(key)))

    return pick


def python_memcached(weights):
    import memcache

    buckets = [i for i, weight in enumerate(weights) for _ in range(weight)]
    return lambda key: buckets[memcache.cmemcache_hash(key.encode()) % len(buckets)]


def pymemcache_hash():
    from pymemcache.client.rendezvous import RendezvousHash

    names = ["%s:%s" % h if h[1] else h[0] for h in HOSTS]
    hash = RendezvousHash(nodes=names)
    return lambda key: names.index(hash.get_node(key))


def golden():
    from pymemcache.client.rendezvous import RendezvousHash

    ones = [1] * len(HOSTS)
    rows = [
        ("ketama", False, libmemcached(BEHAVIORS["ketama"], ones)),
        ("ketama", True, libmemcached(BEHAVIORS["ketama"], WEIGHTS)),
        ("ketama_weighted", False, libmemcached(BEHAVIORS["ketama_weighted"], ones)),
        ("ketama_weighted", True, libmemcached(BEHAVIORS["ketama_weighted"], WEIGHTS)),
        ("modula", False, libmemcached({}, ones)),
        ("rendezvous", False, pymemcache_hash()),
        ("crc32", False, python_memcached(ones)),
        ("crc32", True, python_memcached(WEIGHTS)),
    ]
    tie = RendezvousHash(nodes=TIE)
    assert tie.get_node("tie") == RendezvousHash(nodes=TIE[::-1]).get_node("tie") == TIE[0]
    for name, weighted, pick in rows:
        # pymemcache refuses keys that are not ASCII.
        where = ["-" if name == "rendezvous" and not k.isascii() else str(pick(k)) for k in KEYS]
        print('{"%s", %s, "%s"},' % (name, str(weighted).lower(), "".join(where)))


def client(name, servers):
    pairs = [(addr, int(weight)) for addr, _, weight in (s.partition("*") for s in servers)]
    if name == "crc32":
        import memcache

        return memcache.Client(pairs)
    if name == "rendezvous":
        from pymemcache.client.hash import HashClient

        return HashClient([addr for addr, _ in pairs], default_noreply=False)
    import pylibmc

    return pylibmc.Client(["%s:%d" % p for p in pairs], behaviors=BEHAVIORS[name])


def main(op, *args):
    if op == "golden":
        return golden()
    c = client(args[0], args[1:])
    for i in range(1000):
        if op == "set":
            assert c.set("p%d" % i, b"from Python"), i
        elif c.get("g%d" % i) != b"from Go":
            print("g%d" % i)


main(*sys.argv[1:])
