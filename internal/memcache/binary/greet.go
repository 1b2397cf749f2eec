package binary

import (
	"errors"
	"fmt"
	"strings"

	"github.com/couchbase/gomemcached"
)

var errAuth = errors.New("authentication: the server refuses the username and password")

// greet authenticates and sees whether the server speaks the protocol.
func (c *conn) greet(username, password string) error {
	if username != "" || password != "" {
		if strings.Contains(username+password, "\x00") {
			return errors.New("authentication: username or password has a zero byte")
		}
		res, err := c.exchange(gomemcached.SASL_AUTH, "PLAIN", "\x00"+username+"\x00"+password)
		switch {
		case err != nil:
			return fmt.Errorf("authentication: %w", err)
		case res.Status == gomemcached.AUTH_ERROR, res.Status == gomemcached.AUTH_CONTINUE:
			return errAuth
		case res.Status != gomemcached.SUCCESS && res.Status != gomemcached.UNKNOWN_COMMAND:
			// Not with the server's words, which might have the password in them.
			return fmt.Errorf("authentication: server error %s", res.Status)
		}
	}
	res, err := c.exchange(gomemcached.NOOP, "", "")
	switch {
	case err != nil:
		return err
	case res.Status == gomemcached.AUTH_ERROR:
		return errors.New("authentication: the server asks for a username and a password")
	case res.Status != gomemcached.SUCCESS:
		return serverError(res)
	}
	return nil
}

// exchange sends a command and waits for the reply.
func (c *conn) exchange(opcode gomemcached.CommandCode, key, body string) (*gomemcached.MCResponse, error) {
	c.req.Opcode, c.req.Key, c.req.Body = opcode, []byte(key), []byte(body)
	opaque := c.req.Opaque
	if err := c.transmit(); err != nil {
		return nil, err
	}
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	h, err := c.peek()
	if err != nil {
		return nil, err
	}
	res, err := c.receive(h, opcode, opaque)
	if res == nil && err == nil {
		err = errors.New("reply that is too large")
	}
	return res, err
}
