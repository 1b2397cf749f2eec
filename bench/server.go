package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const patience = time.Minute // with programs that the bench has started

// A server is a program that listens on a port of the loopback interface.
type server struct {
	addr  string // host:port
	cmd   *exec.Cmd
	ended chan struct{}
}

// startRedis starts a Redis server with nothing in it.
func startRedis() (*server, error) {
	return startServer("redis-server", "redis-server", func(host, port string) []string {
		return []string{"--bind", host, "--port", port, "--save", "", "--appendonly", "no"}
	})
}

// startServer starts a program, which the Debian package contains, and waits
// until it listens on a port that was free.
func startServer(program, debian string, args func(host, port string) []string) (*server, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%s is not installed: apt-get install %s", program, debian)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	s := &server{net.JoinHostPort(host, port), exec.Command(path, args(host, port)...), make(chan struct{})}
	var log bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	s.cmd.SysProcAttr = dieWithParent()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.ended)
		s.cmd.Wait()
	}()
	if err := s.listens(); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s %w:\n%s", program, err, &log)
	}
	return s, nil
}

// listens waits until the server takes connections.
func (s *server) listens() error {
	timeout := time.After(patience)
	for {
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-s.ended:
			return errors.New("has ended")
		case <-timeout:
			return fmt.Errorf("does not listen on %s", s.addr)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Close ends the server.
func (s *server) Close() {
	s.cmd.Process.Kill()
	<-s.ended
}

// infoField returns a number that a Redis server tells in its INFO.
func infoField(info, name string) (int64, error) {
	for line := range strings.Lines(info) {
		if text, is := strings.CutPrefix(strings.TrimSpace(line), name+":"); is {
			return strconv.ParseInt(text, 10, 64)
		}
	}
	return 0, fmt.Errorf("the server does not tell its %s", name)
}
