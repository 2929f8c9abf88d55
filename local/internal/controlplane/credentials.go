package controlplane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// certificateLife is how long the serving certificate is valid. A directory can be used for longer
// than that: every start makes a new certificate.
const certificateLife = 365 * 24 * time.Hour

// credentials are what the control plane and its users prove themselves with. Tokens and the serving
// certificate are made anew at every start, the key of service account tokens is kept, so that tokens
// outlive a restart on the same directory.
type credentials struct {
	dir    string
	ca     []byte // PEM of the serving certificate, which signs itself
	tokens map[string]string
}

func (c *credentials) file(name string) string { return filepath.Join(c.dir, name) }

func newCredentials(dir string) (*credentials, error) {
	c := &credentials{dir: filepath.Join(dir, "credentials"), tokens: map[string]string{
		Admin: randomToken(), Controller: randomToken(), Simulator: randomToken(),
	}}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of credentials: %w", err)
	}
	var csv bytes.Buffer
	for user, token := range c.tokens {
		fmt.Fprintf(&csv, "%s,%s,%s,system:masters\n", token, user, user)
	}
	if err := os.WriteFile(c.file("tokens.csv"), csv.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	if _, err := os.Stat(c.file("service-account.key")); err != nil {
		if _, err := writeKey(c.file("service-account.key")); err != nil {
			return nil, err
		}
	}
	return c, c.writeCertificate()
}

// writeKey makes a P-256 key and writes it as PEM. RSA would take longer than etcd takes to start.
func writeKey(file string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, fmt.Errorf("writing a key: %w", err)
	}
	return key, nil
}

func (c *credentials) writeCertificate() error {
	key, err := writeKey(c.file("server.key"))
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("serial number of the certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "weir-local"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	c.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(c.file("server.crt"), c.ca, 0o600); err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	return nil
}

// config is how user reaches the API server at url. Only a polling caller is served by it as it is:
// nothing limits the rate.
func (c *credentials) config(url, user string) *rest.Config {
	return &rest.Config{
		Host: url, BearerToken: c.tokens[user], QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.ca},
	}
}

func (c *credentials) writeKubeconfig(file, url, user string) error {
	k := clientcmdapi.NewConfig()
	k.Clusters["weir-local"] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: c.ca}
	k.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: c.tokens[user]}
	k.Contexts["weir-local"] = &clientcmdapi.Context{Cluster: "weir-local", AuthInfo: user}
	k.CurrentContext = "weir-local"
	if err := clientcmd.WriteToFile(*k, file); err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	return nil
}
