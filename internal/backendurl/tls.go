package backendurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/dogpile-go/dogpile/driver"
)

// TLSConfig returns how the next connection is secured. What it returns must not
// be written to. A nil TLSConfig stands for connections that nothing secures.
type TLSConfig func() (*tls.Config, error)

// TLS reads how the connections are secured, from the arguments ca_file,
// cert_file, key_file, server_name and insecure. Unless secured, for a scheme
// without TLS, it reads none of them, so that Args.Err reports them as unknown.
//
// It returns what loads the files that the arguments name, to be called once the
// rest of the URL has proved sound. The files are read then, to tell what is
// wrong with them, and again for each connection, so that new ones have what was
// written last. A tls.Config of the caller's own takes the place of the arguments.
// Errors name the argument and the file.
func TLS(args *driver.Args, secured bool) (load func(own *tls.Config) (TLSConfig, error)) {
	if !secured {
		return fixed
	}
	f := files{args.String("ca_file", ""), args.String("cert_file", ""), args.String("key_file", "")}
	base := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         args.String("server_name", ""),
		InsecureSkipVerify: args.Bool("insecure", false),
	}
	return func(own *tls.Config) (TLSConfig, error) {
		switch {
		case own != nil:
			return fixed(own)
		case (f.cert == "") != (f.key == ""):
			return nil, errors.New("cert_file and key_file go together")
		case f == files{}:
			return fixed(base)
		}
		// A Config for each connection, and not one with callbacks: there is none for
		// RootCAs but to verify by hand, and what that is told of the server's name is
		// "" where the name is an IP address.
		c := func() (*tls.Config, error) { return f.read(base.Clone()) }
		_, err := c()
		return c, err
	}
}

func fixed(c *tls.Config) (TLSConfig, error) {
	if c == nil {
		return nil, nil
	}
	return func() (*tls.Config, error) { return c, nil }, nil
}

// files are the paths of files in PEM form; "" for none.
type files struct{ ca, cert, key string }

// read returns c with what is in the files now. A certificate whose key is yet to
// be replaced is an error, of this connection alone.
func (f files) read(c *tls.Config) (*tls.Config, error) {
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %s has no certificate in PEM form", f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("cert_file %s and key_file %s: %w", f.cert, f.key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
