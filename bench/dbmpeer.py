"""The dbm backend of dogpile.cache, in a file that is the first argument, with as
many entries as the second one says, which it stores if the third one does. Tells
which dbm it has, and then gets or sets entries as the lines of JSON say that come
in."""
import json
import random
import sys
import time


def tell(**news):
    print(json.dumps(news), flush=True)


try:
    import dbm

    from dogpile.cache import make_region
except ImportError as e:
    tell(Err=f"{e}: apt-get install python3-dogpile.cache python3-gdbm")
    sys.exit(1)

path, n = sys.argv[1], int(sys.argv[2])
region = make_region().configure(
    "dogpile.cache.dbm", expiration_time=3600, arguments={"filename": path}
)
keys = [f"user:{i}" for i in range(n)]
values = {key: key.ljust(1000, ".") for key in keys}
if sys.argv[3] == "true":
    region.set_multi(values)
random.shuffle(keys)


def get(key):
    if region.get(key) != values[key]:
        raise ValueError(f"got a wrong value for {key!r}")


def put(key):
    region.set(key, values[key])


tell(DBM=dbm.whichdb(path))
at = 0
for line in sys.stdin:
    order = json.loads(line)
    act = put if order["Writes"] else get
    start, ops = time.perf_counter_ns(), 0
    try:
        while True:
            act(keys[at % n])
            at += 1
            ops += 1
            took = time.perf_counter_ns() - start
            if took >= order["For"]:
                break
        tell(Ops=ops, Took=took)
    except Exception as e:
        tell(Err=repr(e))
