package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Material is what TLS works with, in PEM. The zero value trusts the system's
// authorities and presents nothing.
type Material struct {
	CA        []byte // replaces the system's authorities
	Cert, Key []byte // the client's
}

// ReadMaterial takes "ca.crt", "tls.crt" and "tls.key" out of a Secret, or what lies
// under the names that were used before: "caFile", "certFile" and "keyFile". It
// is an error if there is nothing, or half of a pair.
func ReadMaterial(s *corev1.Secret) (Material, error) {
	m := FindMaterial(s)
	switch {
	case m.CA == nil && m.Cert == nil:
		return m, fmt.Errorf("the secret %q has neither \"ca.crt\" nor \"tls.crt\"", s.Name)
	case (m.Cert == nil) != (m.Key == nil):
		return m, fmt.Errorf("the secret %q has only one of \"tls.crt\" and \"tls.key\"", s.Name)
	}
	return m, nil
}

// FindMaterial is ReadMaterial for a Secret that is about something else as well.
func FindMaterial(s *corev1.Secret) Material {
	first := func(keys ...string) []byte {
		for _, key := range keys {
			if len(s.Data[key]) > 0 {
				return s.Data[key]
			}
		}
		return nil
	}
	return Material{CA: first("ca.crt", "caFile"), Cert: first("tls.crt", "certFile"), Key: first("tls.key", "keyFile")}
}

// Empty tells whether there is nothing in m.
func (m Material) Empty() bool { return m.CA == nil && m.Cert == nil && m.Key == nil }

// Config returns the settings for TLS.
func (m Material) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.CA != nil {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(m.CA) {
			return nil, errors.New("\"ca.crt\" holds no certificate in PEM")
		}
	}
	if (m.Cert == nil) != (m.Key == nil) {
		return nil, errors.New("there is only one of \"tls.crt\" and \"tls.key\"")
	}
	if m.Cert != nil {
		pair, err := tls.X509KeyPair(m.Cert, m.Key)
		if err != nil {
			return nil, errors.New("\"tls.crt\" and \"tls.key\" are no pair in PEM") // the cause could quote them
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// ReadProxy takes the address of an HTTP proxy out of a Secret: "address" and, if the
// proxy wants them, "username" and "password".
func ReadProxy(s *corev1.Secret) (*url.URL, error) {
	proxy, err := url.Parse(strings.TrimSpace(string(s.Data["address"])))
	if err != nil || proxy.Host == "" {
		return nil, fmt.Errorf("the key \"address\" of the secret %q is no URL", s.Name)
	}
	if user := string(s.Data["username"]); user != "" {
		proxy.User = url.UserPassword(user, string(s.Data["password"]))
	}
	return proxy, nil
}
