// Package tlsargs reads the arguments of a backend's URL that say how its
// connections are secured.
package tlsargs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/dogpile-go/dogpile/driver"
)

// Read takes ca_file, cert_file, key_file, server_name and insecure from args and
// returns what loads the files that they name, for the caller to call once it
// knows that the URL is sound. Errors name the argument.
func Read(args *driver.Args) (load func() (*tls.Config, error)) {
	ca, cert, key := args.String("ca_file", ""), args.String("cert_file", ""), args.String("key_file", "")
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         args.String("server_name", ""),
		InsecureSkipVerify: args.Bool("insecure", false),
	}
	return func() (*tls.Config, error) {
		if ca != "" {
			pem, err := os.ReadFile(ca)
			if err != nil {
				return nil, fmt.Errorf("ca_file: %w", err)
			}
			c.RootCAs = x509.NewCertPool()
			if !c.RootCAs.AppendCertsFromPEM(pem) {
				return nil, errors.New("ca_file has no certificate in PEM form")
			}
		}
		if (cert == "") != (key == "") {
			return nil, errors.New("cert_file and key_file go together")
		}
		if cert != "" {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("cert_file and key_file: %w", err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
		return c, nil
	}
}
