// Package neterr words the errors of connections for messages that have named
// the server already.
package neterr

import (
	"net"
	"os"
)

// WithoutAddr returns an error that says why err happened, and neither with
// which server nor by which system call: "connection refused" for "dial tcp
// 10.0.0.1:6379: connect: connection refused". To errors.Is and errors.As it is
// err. An error that is not of package net is returned as it is.
func WithoutAddr(err error) error {
	if text, ok := reason(err); ok {
		return &worded{text, err}
	}
	return err
}

// reason returns the text of err without addresses, and whether it had any.
func reason(err error) (text string, ok bool) {
	switch e := err.(type) {
	case *net.OpError:
		text, _ = reason(e.Err)
		return text, true
	case *os.SyscallError:
		return e.Err.Error(), true
	case *net.DNSError:
		return e.Err, true // "no such host"
	}
	return err.Error(), false
}

// worded is an error with another text.
type worded struct {
	text string
	err  error
}

func (w *worded) Error() string { return w.text }
func (w *worded) Unwrap() error { return w.err }
