package backendurl

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/dogpile-go/dogpile/driver"
)

// Credentials says who the client is to a server. It is called for each
// connection that is made, perhaps for several at a time, with a context that
// ends when the connection is given up. "" and "" are nobody.
type Credentials = func(ctx context.Context) (user, password string, err error)

// Login is who the client is to a server, as a URL and its arguments say.
type Login struct {
	User, Password string
	PasswordFile   string // has the password, unless Password says it
}

// ReadLogin reads what comes before the hosts, and the arguments user (or
// username, as Python has it), password and password_file. Its error names the
// arguments that contradict each other, and shows no value.
func ReadLogin(args *driver.Args) (Login, error) {
	l := Login{args.User, args.Password, args.String("password_file", "")}
	for _, said := range []struct {
		name string
		to   *string
	}{{"user", &l.User}, {"username", &l.User}, {"password", &l.Password}} {
		switch value := args.String(said.name, ""); {
		case value == "" || value == *said.to:
		case *said.to == "":
			*said.to = value
		default:
			return Login{}, &driver.ArgError{Name: said.name, Problem: "differs from what is said before the hosts or under another name"}
		}
	}
	if l.Password != "" && l.PasswordFile != "" {
		return Login{}, &driver.ArgError{Name: "password_file", Problem: "is given, and a password too"}
	}
	return l, nil
}

// Credentials returns what l says, nil if that is nothing. A PasswordFile is read
// now, to tell what is wrong with it, and again for each connection, so that new
// ones have what was written into it last. The end of its last line is not part of
// the password.
func (l Login) Credentials() (Credentials, error) {
	if l == (Login{}) {
		return nil, nil
	}
	c := func(context.Context) (user, password string, err error) {
		password = l.Password
		if password == "" && l.PasswordFile != "" {
			password, err = readPassword(l.PasswordFile)
		}
		return l.User, password, err
	}
	_, _, err := c(context.Background())
	return c, err
}

func readPassword(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" {
		// A file that is just being written. It has to be an error: a login without a
		// password may be somebody else's.
		return "", fmt.Errorf("password_file %s is empty", file)
	}
	return password, nil
}
