package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// door is an address that is listened on.
type door struct {
	says    string // before its URL
	address string
	handler http.Handler
}

// listenAndServe answers requests at all doors until ctx ends, and those under way after that.
func listenAndServe(ctx context.Context, doors []door) error {
	servers := make([]*http.Server, len(doors))
	ended := make(chan error, len(doors))
	for i, d := range doors {
		listener, err := net.Listen("tcp", d.address)
		if err != nil {
			return errors.Join(err, shutdown(servers[:i]))
		}
		fmt.Printf("%s http://%s\n", d.says, listener.Addr())
		servers[i] = &http.Server{Handler: d.handler, ReadHeaderTimeout: 10 * time.Second}
		go func() { ended <- servers[i].Serve(listener) }()
	}
	select {
	case err := <-ended:
		return errors.Join(err, shutdown(servers))
	case <-ctx.Done():
	}
	return shutdown(servers)
}

// shutdown closes servers. Browsers open connections to spare: it waits for up to six seconds
// whether anything is asked on them.
func shutdown(servers []*http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
