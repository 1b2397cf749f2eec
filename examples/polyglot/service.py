"""The service of main.go once more, in Python, with dogpile.cache.

What both have to agree on has a number, here and there.
"""
import argparse
import json
import sqlite3
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from dogpile.cache import make_region

flags = argparse.ArgumentParser()
flags.add_argument("--listen", default="127.0.0.1:8082", help="address to listen on")
flags.add_argument("--redis", default="redis://127.0.0.1:6379/0", help="where the cache is")
flags.add_argument("--db", default="polyglot.db", help="file of the database")
flags = flags.parse_args()

region = make_region(
    # (1) Values are JSON. Nobody but Python can read a pickle.
    serializer=lambda value: json.dumps(value).encode(),
    deserializer=json.loads,
).configure(
    "dogpile.cache.redis",
    expiration_time=60,
    arguments={
        "url": flags.redis,
        # (2) The lock of a key is in Redis too, and not in this process.
        "distributed_lock": True,
        "thread_local_lock": False,
        "lock_timeout": 30,  # without it, the lock of a process that dies stays for ever
        "lock_sleep": 0.02,  # for how long those who wait for it sleep, again and again
        "redis_expiration_time": 120,
    },
)


def key_of(product):
    return "quote:" + product  # (3)


made = []  # the products of all quotes that this process has made


def make_quote(product):
    made.append(product)
    with database() as db:
        row = db.execute("SELECT cents FROM prices WHERE product = ?", [product]).fetchone()
    if row is None:
        raise LookupError(product)
    time.sleep(0.2)  # stands for work
    return {"product": product, "cents": row[0], "made_by": "Python"}


def quote(product):
    return region.get_or_create(key_of(product), lambda: make_quote(product))


def set_price(product, cents):
    with database() as db, db:
        db.execute("INSERT OR REPLACE INTO prices (product, cents) VALUES (?, ?)", [product, cents])
    region.delete(key_of(product))


def database():
    db = sqlite3.connect(flags.db, timeout=10)
    db.execute("CREATE TABLE IF NOT EXISTS prices (product TEXT PRIMARY KEY, cents INTEGER NOT NULL)")
    return closing(db)


class Handler(BaseHTTPRequestHandler):
    """GET /quote/PRODUCT, PUT /price/PRODUCT, and GET /made."""

    def do_GET(self):
        what, *rest = self.parts()
        if what == "quote" and len(rest) == 1:
            try:
                self.answer(200, quote(rest[0]))
            except LookupError:
                self.answer(404, "there is no such product")
        elif what == "made" and not rest:
            self.answer(200, len(made))
        else:
            self.answer(404, "there is no such page")

    def do_PUT(self):
        what, *rest = self.parts()
        cents = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if what == "price" and len(rest) == 1 and cents.isdigit() and int(cents) < 2**32:
            set_price(rest[0], int(cents))
            self.answer(200, int(cents))
        else:
            self.answer(400, "that is no price")

    def parts(self):
        return [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]

    def answer(self, status, value):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # a stampede comes all at once


if __name__ == "__main__":
    host, port = flags.listen.rsplit(":", 1)
    server = Server((host, int(port)), Handler)
    print("Python answers on http://%s:%d" % server.server_address, flush=True)
    server.serve_forever()
