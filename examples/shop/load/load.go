// Package load puts a shop under load: many customers look at the same product while its
// price is changed again and again.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dogpile-go/dogpile/examples/shop/catalog"
	"github.com/dogpile-go/dogpile/examples/shop/web"
)

// Load says how much there is to do, and for how long. All fields have to be set.
type Load struct {
	Shops       []string      // the URLs of the processes of one shop, without a path
	Clients     int           // how many customers there are
	Duration    time.Duration // for how long they send requests
	Pause       time.Duration // how long a customer looks at a page
	ChangeEvery time.Duration // how often the price of the popular product is changed
}

// Result is what came of a Load.
type Result struct {
	Requests  int           // for pages, that were answered
	Errors    int           // requests that failed, in whatever way
	OldPrices int           // pages with a price that had been changed before they were asked for
	Changes   int           // of the price
	P50, P99  time.Duration // half, and 99 of 100, requests were answered within this time
	Queries   int64         // that all processes have sent to the database
}

// The product that most customers look at.
const popular = 1

// run is a Load at work.
type run struct {
	Load
	client http.Client
	price  atomic.Int64 // of the popular product, in cents, at the least
}

// Run puts the load on the shop, and returns when it is over: after Duration, or when ctx has
// ended. The error is one of the preparations; those of customers are counted.
func (l Load) Run(ctx context.Context) (Result, error) {
	r := &run{Load: l, client: http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: l.Clients + 1},
	}}
	defer r.client.CloseIdleConnections()
	var product catalog.Product
	if err := r.getJSON(ctx, fmt.Sprintf("%s/api/products/%d", l.Shops[0], popular), &product); err != nil {
		return Result{}, err
	}
	// The first change comes before the first request: a cache that is shared may know the
	// price that some other database had.
	if err := r.raisePrice(ctx, &product, 0); err != nil {
		return Result{}, err
	}
	before, err := r.queries(ctx)
	if err != nil {
		return Result{}, err
	}
	result := r.all(ctx, product)
	after, err := r.queries(ctx)
	result.Queries = after - before
	return result, err
}

// all runs the customers and the owner until their time is over.
func (r *run) all(ctx context.Context, product catalog.Product) Result {
	ctx, cancel := context.WithTimeout(ctx, r.Duration)
	defer cancel()
	var (
		result    Result
		customers = make([]customer, r.Clients)
		everybody sync.WaitGroup
	)
	for i := range customers {
		everybody.Go(func() { customers[i].visit(ctx, r, i) })
	}
	everybody.Go(func() {
		for wait(ctx, r.ChangeEvery) {
			result.Changes++
			if err := r.raisePrice(underWay(ctx), &product, result.Changes); err != nil {
				result.Errors++
			}
		}
	})
	everybody.Wait()
	var times []time.Duration
	for _, c := range customers {
		times = append(times, c.times...)
		result.Errors += c.errors
		result.OldPrices += c.oldPrices
	}
	slices.Sort(times)
	if result.Requests = len(times); len(times) > 0 {
		result.P50, result.P99 = times[len(times)/2], times[len(times)*99/100]
	}
	return result
}

// customer is one of many, and what has happened to this one.
type customer struct {
	times             []time.Duration
	errors, oldPrices int
}

// visit looks at one page after the other. Most of them are that of the popular product.
func (c *customer) visit(ctx context.Context, r *run, number int) {
	random := rand.New(rand.NewPCG(uint64(number), 0))
	for visits := number; ctx.Err() == nil; visits++ {
		path, isPopular := fmt.Sprint("/product/", popular), true
		switch random.IntN(10) {
		case 0:
			path, isPopular = "/category/tea", false
		case 1:
			path, isPopular = fmt.Sprint("/product/", 2+random.IntN(47)), false
		}
		least := r.price.Load()
		began := time.Now()
		page, err := r.get(underWay(ctx), r.Shops[visits%len(r.Shops)]+path)
		if err != nil {
			c.errors++
		} else {
			c.times = append(c.times, time.Since(began))
			if isPopular && priceOn(page) < least {
				c.oldPrices++
			}
		}
		wait(ctx, r.Pause)
	}
}

// underWay returns a context for a request: when the time is over, those under way are not cut
// off, as that would show in the numbers.
func underWay(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// wait reports whether the time has passed, and ctx has not ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// raisePrice makes a product a cent dearer. From then on it is wrong to show a lower price.
func (r *run) raisePrice(ctx context.Context, p *catalog.Product, change int) error {
	p.Cents++
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	url := fmt.Sprintf("%s/api/products/%d", r.Shops[change%len(r.Shops)], p.ID)
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if _, err := r.do(request); err != nil {
		return err
	}
	r.price.Store(int64(p.Cents))
	return nil
}

// queries returns how many queries the processes have sent to the database by now.
func (r *run) queries(ctx context.Context) (int64, error) {
	var sum int64
	for _, shop := range r.Shops {
		var stats web.Stats
		if err := r.getJSON(underWay(ctx), shop+"/stats", &stats); err != nil {
			return 0, err
		}
		sum += stats.Queries
	}
	return sum, nil
}

func (r *run) getJSON(ctx context.Context, url string, v any) error {
	body, err := r.get(ctx, url)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

func (r *run) get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return r.do(request)
}

func (r *run) do(request *http.Request) (body []byte, err error) {
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if body, err = io.ReadAll(response.Body); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s", request.Method, request.URL, response.Status)
	}
	return body, nil
}

var price = regexp.MustCompile(`<b>(\d+)\.(\d\d) €</b>`)

// priceOn returns the price on the page of a product, in cents. A page without a price is as
// wrong as one with an old price: it returns 0.
func priceOn(page []byte) int64 {
	match := price.FindSubmatch(page)
	if match == nil {
		return 0
	}
	cents, _ := strconv.ParseInt(string(match[1])+string(match[2]), 10, 64)
	return cents
}
