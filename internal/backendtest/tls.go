//go:build unix

package backendtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Identity is a CA and a certificate for 127.0.0.1 and localhost that it has
// signed, in files.
type Identity struct {
	CA, Cert, Key string
	Pool          *x509.CertPool // trusts the CA
}

// NewIdentity makes one that nobody else trusts.
func NewIdentity(t testing.TB) *Identity {
	t.Helper()
	dir := t.TempDir()
	id := &Identity{filepath.Join(dir, "ca.crt"), filepath.Join(dir, "s.crt"), filepath.Join(dir, "s.key"), x509.NewCertPool()}
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true,
		}
	}
	ca, cert := template("ca"), template("server")
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	cert.DNSNames, cert.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	caKey, key := newKey(t), newKey(t)
	write := func(file, kind string, der []byte, err error) {
		OK(t, err)
		OK(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	write(id.CA, "CERTIFICATE", der, err)
	ca, err = x509.ParseCertificate(der)
	OK(t, err)
	id.Pool.AddCert(ca)
	der, err = x509.CreateCertificate(rand.Reader, cert, ca, key.Public(), caKey)
	write(id.Cert, "CERTIFICATE", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(key)
	write(id.Key, "PRIVATE KEY", der, err)
	return id
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	OK(t, err)
	return key
}

// Args are the arguments of a URL whose client trusts the CA and has the
// certificate for its own.
func (id *Identity) Args() []string {
	return []string{"ca_file=" + id.CA, "cert_file=" + id.Cert, "key_file=" + id.Key}
}

// Config is for a client that trusts everybody and has the certificate for its
// own; nil for a nil Identity.
func (id *Identity) Config(t testing.TB) *tls.Config {
	t.Helper()
	if id == nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(id.Cert, id.Key)
	OK(t, err)
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
}
