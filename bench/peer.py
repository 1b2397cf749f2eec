"""dogpile.cache beside the others. Obeys the orders that come as lines of JSON,
and tells what came of them."""
import json
import sys
import threading
import time

telling = threading.Lock()


def tell(**news):
    with telling:
        print(json.dumps(news), flush=True)


try:
    import redis
    from dogpile.cache import make_region
except ImportError as e:
    tell(Err=f"{e}: apt-get install python3-dogpile.cache python3-redis")
    sys.exit(1)

setting = json.loads(sys.argv[1])
host, port = setting["Addr"].rsplit(":", 1)
region = make_region().configure(
    "dogpile.cache.redis",
    expiration_time=3600,
    arguments={
        "host": host,
        "port": int(port),
        "distributed_lock": True,
        "thread_local_lock": False,
        "lock_timeout": setting["Lease"] / 1e9,
    },
)


def value_of(key):
    return key.ljust(100, ".")


def call(key, creator):
    start = time.time_ns()
    value = region.get_or_create(key, creator)
    span = {"Start": start, "End": time.time_ns()}
    if value != value_of(key):
        raise ValueError(f"got {value!r} for {key!r}")
    return span


def threads(order, run):
    """Runs run(n) in threads that begin together, and tells what they return."""
    calls, errors, begin = [], [], threading.Event()

    def body(n):
        begin.wait()
        try:
            calls.extend(run(n))
        except Exception as e:
            errors.append(repr(e))

    all = [
        threading.Thread(target=body, args=(n,), daemon=True)
        for n in range(order["Goroutines"])
    ]
    for t in all:
        t.start()
    time.sleep(max(0, order["At"] - time.time_ns()) / 1e9)
    begin.set()
    for t in all:
        t.join()
    return {"Calls": calls, "Err": "; ".join(errors[:1])}


def once(order):
    key, created = order["Key"], []

    def create():
        tell(Creating=True)
        time.sleep(order["Create"] / 1e9)
        created.append(time.time_ns())
        return value_of(key)

    return {**threads(order, lambda n: [call(key, create)]), "Created": created}


filled = {}


def hits(order):
    prefix, n = order["Key"], order["Keys"]
    if prefix not in filled:
        filled[prefix] = [prefix + str(i) for i in range(n)]
        region.set_multi({key: value_of(key) for key in filled[prefix]})
    keys = filled[prefix]

    def missed():
        raise KeyError("missed a key that was stored")

    def run(thread):
        i, calls = thread * n // order["Goroutines"], []
        end = time.time_ns() + order["For"]
        while not calls or time.time_ns() < end:
            calls.append(call(keys[i % n], missed))
            i += 1
        return calls

    return threads(order, run)


tell()
for line in sys.stdin:
    order = json.loads(line)
    tell(**(hits(order) if order["Keys"] else once(order)))
