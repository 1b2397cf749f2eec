"""What a Python program with dogpile.cache does with a server that it shares
with Go. Prints its result as JSON."""
import json
import sys
import threading
import time

import redis
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

port, op, *args = sys.argv[1:]
server = redis.Redis(port=int(port))
region = make_region(
    serializer=lambda v: json.dumps(v).encode(), deserializer=json.loads
).configure(
    "dogpile.cache.redis",
    expiration_time=3600,
    arguments={
        "host": "127.0.0.1",
        "port": int(port),
        "distributed_lock": True,
        "thread_local_lock": False,
        "lock_timeout": 30,
        "lock_sleep": 0.02,
    },
)


def creator(value, seconds):
    def create(*keys):
        server.incr("creations")
        time.sleep(float(seconds))
        return [json.loads(value) for _ in keys] if keys else json.loads(value)

    return create


def plain(v):
    return "NO_VALUE" if v is NO_VALUE else v


@region.cache_on_arguments()
def load(a, b):
    server.incr("creations")
    return "python %s %s" % (a, b)


def threads(n, key, value, seconds):
    """Creates in n threads at once, for as long as the key "go" is missing."""
    results = []

    def run():
        while not server.exists("go"):
            time.sleep(0.005)
        results.append(region.get_or_create(key, creator(value, seconds)))

    all = [threading.Thread(target=run) for _ in range(int(n))]
    [t.start() for t in all]
    server.incr("ready")
    [t.join() for t in all]
    return results


ops = {
    "get": lambda key: plain(region.get(key)),
    "set": lambda key, value: region.set(key, json.loads(value)),
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
