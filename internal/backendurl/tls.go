package backendurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/dogpile-go/dogpile/driver"
)

// TLS reads how the connections are secured, from the arguments ca_file,
// cert_file, key_file, server_name and insecure. Unless secured, for a scheme
// without TLS, it reads none of them, so that Args.Err reports them as unknown.
//
// It returns what loads the files that the arguments name, to be called once the
// rest of the URL has proved sound. A tls.Config of the caller's own takes the
// place of the arguments. Errors name the argument.
func TLS(args *driver.Args, secured bool) (load func(own *tls.Config) (*tls.Config, error)) {
	if !secured {
		return func(own *tls.Config) (*tls.Config, error) { return own, nil }
	}
	ca, cert, key := args.String("ca_file", ""), args.String("cert_file", ""), args.String("key_file", "")
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         args.String("server_name", ""),
		InsecureSkipVerify: args.Bool("insecure", false),
	}
	return func(own *tls.Config) (*tls.Config, error) {
		if own != nil {
			return own, nil
		}
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
