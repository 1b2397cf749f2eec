// Polyglot is a service that is written twice, in Go here and in Python in service.py. Both
// have the same cache, and make each quote once between them.
//
// What both have to agree on has a number, here and there.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite", which is pure Go

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/backend/redis"
)

// (1) Values are JSON, here without being told.
var region = dogpile.NewRegion("quotes")

var quotes = dogpile.NewCache[Quote](region, nil)

// Quote is what it costs to have a product delivered.
type Quote struct {
	Product string `json:"product"`
	Cents   int    `json:"cents"`
	MadeBy  string `json:"made_by"`
}

func keyOf(product string) string { return "quote:" + product } // (3)

// service is what answers requests.
type service struct {
	db   *sql.DB
	made atomic.Int64 // how many quotes this process has made
}

func (s *service) makeQuote(ctx context.Context, product string) (Quote, error) {
	s.made.Add(1)
	q := Quote{Product: product, MadeBy: "Go"}
	err := s.db.QueryRowContext(ctx, "SELECT cents FROM prices WHERE product = ?", product).Scan(&q.Cents)
	if err != nil {
		return Quote{}, err
	}
	time.Sleep(200 * time.Millisecond) // stands for work
	return q, nil
}

func (s *service) quote(ctx context.Context, product string) (Quote, error) {
	return quotes.GetOrCreate(ctx, keyOf(product), func(ctx context.Context) (Quote, error) {
		return s.makeQuote(ctx, product)
	})
}

func (s *service) setPrice(ctx context.Context, product string, cents uint64) error {
	_, err := s.db.ExecContext(ctx, "INSERT OR REPLACE INTO prices (product, cents) VALUES (?, ?)", product, cents)
	if err != nil {
		return err
	}
	return quotes.Delete(ctx, keyOf(product))
}

// handler answers GET /quote/PRODUCT, PUT /price/PRODUCT, and GET /made.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /quote/{product}", func(w http.ResponseWriter, r *http.Request) {
		q, err := s.quote(r.Context(), r.PathValue("product"))
		switch {
		case errors.Is(err, sql.ErrNoRows):
			answer(w, http.StatusNotFound, "there is no such product")
		case err != nil:
			answer(w, http.StatusInternalServerError, err.Error())
		default:
			answer(w, http.StatusOK, q)
		}
	})
	mux.HandleFunc("PUT /price/{product}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 100))
		cents, invalid := strconv.ParseUint(string(body), 10, 32)
		if err != nil || invalid != nil {
			answer(w, http.StatusBadRequest, "that is no price")
			return
		}
		if err := s.setPrice(r.Context(), r.PathValue("product"), cents); err != nil {
			answer(w, http.StatusInternalServerError, err.Error())
			return
		}
		answer(w, http.StatusOK, cents)
	})
	mux.HandleFunc("GET /made", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, s.made.Load())
	})
	return mux
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // an error is that the client has gone
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8081", "`address` to listen on")
	redisURL := flag.String("redis", "redis://127.0.0.1:6379/0", "`URL` of the cache")
	database := flag.String("db", "polyglot.db", "`file` of the database")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Printf("unexpected argument %q", flag.Arg(0))
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*listen, *redisURL, *database); err != nil {
		log.Fatal(err)
	}
}

func run(listen, redisURL, database string) error {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:"+database+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS prices (product TEXT PRIMARY KEY, cents INTEGER NOT NULL)")
	if err != nil {
		return err
	}

	// (2) The lock of a key is in Redis too: always, and where Python looks for it.
	backend, err := redis.Open(ctx, redisURL, nil)
	if err != nil {
		return err
	}
	defer backend.Close()
	err = region.Configure(backend, &dogpile.Options{
		Expiration: time.Minute,
		Prefix:     dogpile.NoPrefix, // (3) Python has none
	})
	if err != nil {
		return err
	}

	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("Go answers on http://%s\n", listener.Addr())
	return http.Serve(listener, (&service{db: db}).handler())
}
