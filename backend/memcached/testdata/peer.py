"""What a Python program with dogpile.cache does with memcached servers that it
shares with Go. Prints its result as JSON."""
import json
import sys
import threading
import time

import pymemcache
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

backend, hosts, op, *args = sys.argv[1:]
hosts = hosts.split(",")
host, port = hosts[0].rsplit(":", 1)
# What the tests count goes past dogpile.cache, to the first of the servers.
server = pymemcache.Client((host, int(port)))
arguments = {
    "url": hosts,
    "distributed_lock": True,
    "lock_timeout": 30,
}
if backend == "pymemcache":
    arguments["url"] = [(h.rsplit(":", 1)[0], int(h.rsplit(":", 1)[1])) for h in hosts]
if backend == "pylibmc":
    arguments["behaviors"] = {"ketama": True}
if op == "set_compressed":
    arguments["min_compress_len"] = 100
region = make_region(
    serializer=lambda v: json.dumps(v).encode(), deserializer=json.loads
).configure("dogpile.cache." + backend, expiration_time=3600, arguments=arguments)


counting = threading.Lock()


def incr(key):
    with counting:
        server.add(key, b"0")
        server.incr(key, 1)


def creator(value, until):
    """Creates value, as soon as the key until is there."""

    def create(*keys):
        mine = pymemcache.Client((host, int(port)))
        incr("creations")
        while until and mine.get(until) is None:
            time.sleep(0.005)
        return [json.loads(value) for _ in keys] if keys else json.loads(value)

    return create


def plain(v):
    return "NO_VALUE" if v is NO_VALUE else v


@region.cache_on_arguments()
def load(a):
    incr("creations")
    return "python %s" % a


def threads(n, key, value, until):
    """Creates in n threads at once, when the key "go" is there."""
    results = []

    def run():
        mine = pymemcache.Client((host, int(port)))
        while mine.get("go") is None:
            time.sleep(0.005)
        results.append(region.get_or_create(key, creator(value, until)))

    all = [threading.Thread(target=run) for _ in range(int(n))]
    [t.start() for t in all]
    incr("ready")
    [t.join() for t in all]
    return results


ops = {
    "get": lambda key: plain(region.get(key)),
    "set": lambda key, value: region.set(key, json.loads(value)),
    "set_compressed": lambda key, value: region.set(key, json.loads(value)),
    "delete": lambda key: region.delete(key),
    "create": lambda key, value, s: region.get_or_create(key, creator(value, s)),
    "get_multi": lambda *keys: [plain(v) for v in region.get_multi(keys)],
    "set_multi": lambda values: region.set_multi(json.loads(values)),
    "delete_multi": lambda *keys: region.delete_multi(keys),
    "create_multi": lambda value, s, *keys: region.get_or_create_multi(
        keys, creator(value, s)
    ),
    "locked": lambda key: region.key_is_locked(key),
    "load": load,
    "threads": threads,
}
print(json.dumps(ops[op](*args)))
