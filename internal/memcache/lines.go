package memcache

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// maxLines bounds what Lines reads, in lines.
const maxLines = 10_000

// Lines sends a command of the text protocol over a connection of its own, and returns the lines
// of the answer up to the one that is last, without that, and how long the server took to answer
// once there was a connection. All of it takes no longer than ConnectTimeout. It is for looking at
// the server: "stats" has no other form.
func (e *Endpoint) Lines(ctx context.Context, command, last string) (lines []string, took time.Duration, err error) {
	lines, err = Dial(ctx, e, func(stream, raw net.Conn, user, password string) ([]string, error) {
		defer raw.Close()
		c := newConn(stream, raw, &e.Options)
		if err := c.greet(user, password); err != nil {
			return nil, err
		}
		began := time.Now()
		if _, err := fmt.Fprintf(stream, "%s\r\n", command); err != nil {
			return nil, err
		}
		lines, err := c.lines(last)
		took = time.Since(began)
		return lines, err
	})
	return lines, took, e.Failed(ctx, err)
}

// lines reads lines up to one that is last.
func (c *conn) lines(last string) (lines []string, err error) {
	for range maxLines {
		b, err := c.peekLine()
		if err != nil {
			return nil, ReadError(err)
		}
		line := strings.TrimSuffix(string(b), "\r\n")
		c.in.Discard(len(b))
		switch {
		case line == last:
			return lines, nil
		case line == "ERROR", strings.HasPrefix(line, "CLIENT_ERROR"), strings.HasPrefix(line, "SERVER_ERROR"):
			return nil, unexpected([]byte(line))
		}
		lines = append(lines, line)
	}
	return nil, fmt.Errorf("answer of more than %d lines", maxLines)
}
