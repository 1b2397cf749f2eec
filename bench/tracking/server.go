//go:build linux

package main

import (
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"time"
)

// A server is a redis-server with nothing in it, on a port of the loopback interface that
// was free.
type server struct {
	addr string
	cmd  *exec.Cmd
}

func startServer() (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	host, port, _ := net.SplitHostPort(addr)
	l.Close()
	s := &server{addr, exec.Command("redis-server", "--bind", host, "--port", port, "--save", "", "--appendonly", "no")}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return s, nil
		}
	}
	s.close()
	return nil, fmt.Errorf("redis-server does not listen on %s", addr)
}

func (s *server) close() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}
