package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dogpile-go/dogpile"
	"github.com/dogpile-go/dogpile/dashboard"
	"github.com/dogpile-go/dogpile/plugin/dogpileprom"
)

// watch is what people look at who run the shop.
type watch struct {
	board   *dashboard.Dashboard
	metrics *dogpileprom.Collector
}

func newWatch() watch {
	return watch{dashboard.New(&dashboard.Options{Actions: true}), dogpileprom.NewCollector()}
}

// hooks tell both what happens in regions.
func (w watch) hooks() *dogpile.Hooks {
	return dogpile.JoinHooks(w.board.Hooks(), w.metrics.Hooks())
}

// handler serves the dashboard, which can delete entries, and metrics for Prometheus. It has an
// address of its own, since customers must not reach it.
func (w watch) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.metrics)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/", w.board)
	return mux
}
