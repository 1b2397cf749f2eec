"""What a Python program with dogpile.cache does with servers that it shares
with Go. Prints its result as JSON.

    peer.py BACKEND HOST:PORT,... OPERATION ARGUMENT...
"""
import json
import sys
import threading
import time

from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

backend, hosts, op, *args = sys.argv[1:]
hosts = hosts.split(",")
host, port = hosts[0].rsplit(":", 1)
port = int(port)


class Redis:
    """What the tests count and wait for, past dogpile.cache."""

    def __init__(self):
        import redis

        self.client = redis.Redis(host=host, port=port)

    def exists(self, key):
        return self.client.exists(key)

    def incr(self, key):
        self.client.incr(key)


class Memcached:
    counting = threading.Lock()

    def __init__(self):
        import pymemcache

        self.client = pymemcache.Client((host, port))

    def exists(self, key):
        return self.client.get(key) is not None

    def incr(self, key):
        with self.counting:
            self.client.add(key, b"0")
            self.client.incr(key, 1)


# A connection of pymemcache is for one thread.
Server = Redis if backend == "redis" else Memcached
arguments = {"distributed_lock": True, "lock_timeout": 30}
if backend == "redis":
    arguments.update(host=host, port=port, thread_local_lock=False, lock_sleep=0.02)
elif backend == "pymemcache":
    arguments["url"] = [(h.rsplit(":", 1)[0], int(h.rsplit(":", 1)[1])) for h in hosts]
else:
    arguments["url"] = hosts
if backend == "pylibmc":
    arguments["behaviors"] = {"ketama": True}
if op == "set_compressed":
    arguments["min_compress_len"] = 100
region = make_region(
    serializer=lambda v: json.dumps(v).encode(), deserializer=json.loads
).configure("dogpile.cache." + backend, expiration_time=3600, arguments=arguments)


def wait_for(key):
    server = Server()
    while not server.exists(key):
        time.sleep(0.005)


def creator(value, until):
    """Creates value, as soon as the key until is there."""

    def create(*keys):
        Server().incr("creations")
        if until:
            wait_for(until)
        return [json.loads(value) for _ in keys] if keys else json.loads(value)

    return create


def plain(v):
    return "NO_VALUE" if v is NO_VALUE else v


@region.cache_on_arguments()
def load(*args):
    Server().incr("creations")
    return "python " + " ".join(args)


def threads(n, key, value, until):
    """Creates in n threads at once, when the key "go" is there."""
    results = []

    def run():
        wait_for("go")
        results.append(region.get_or_create(key, creator(value, until)))

    all = [threading.Thread(target=run) for _ in range(int(n))]
    [t.start() for t in all]
    Server().incr("ready")
    [t.join() for t in all]
    return results


ops = {
    "get": lambda key: plain(region.get(key)),
    "set": lambda key, value: region.set(key, json.loads(value)),
    "set_compressed": lambda key, value: region.set(key, json.loads(value)),
    "delete": lambda key: region.delete(key),
    "create": lambda key, value, u: region.get_or_create(key, creator(value, u)),
    "get_multi": lambda *keys: [plain(v) for v in region.get_multi(keys)],
    "set_multi": lambda values: region.set_multi(json.loads(values)),
    "delete_multi": lambda *keys: region.delete_multi(keys),
    "create_multi": lambda value, u, *keys: region.get_or_create_multi(
        keys, creator(value, u)
    ),
    "locked": lambda key: region.key_is_locked(key),
    "load": load,
    "threads": threads,
}
print(json.dumps(ops[op](*args)))
