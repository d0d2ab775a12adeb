package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"socktally/api"
	"socktally/config"
)

// writeCertificate writes a certificate for 127.0.0.1 and its key.
func writeCertificate(t *testing.T, cert, key string, serial int64) *x509.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"host.invalid"}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestTLS queries over TLS, with a key, before and after the certificate is renewed.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	first := writeCertificate(t, cert, key, 1)
	f := newAPI(t, &fakeCounter{}, &fakeStore{}, func(cfg *config.Config) {
		cfg.API.TLSCert, cfg.API.TLSKey, cfg.API.Keys = cert, key, []config.Secret{"0123456789abcdef"}
	})
	stop := f.run()
	address := f.address(t)
	check := func(trusted *x509.Certificate) {
		t.Helper()
		pool := x509.NewCertPool()
		pool.AddCert(trusted)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "host.invalid"}}
		defer transport.CloseIdleConnections()
		for given, want := range map[string]int{"0123456789abcdef": 200, "": 403} {
			r, err := http.NewRequest("GET", "https://"+address+api.DNSPath, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("DD-API-KEY", given)
			answer, err := (&http.Client{Transport: transport}).Do(r)
			if err != nil {
				t.Error(err)
				continue
			}
			answer.Body.Close()
			if answer.StatusCode != want {
				t.Errorf("with the key %q: %s", given, answer.Status)
			}
		}
	}
	check(first)
	second := writeCertificate(t, cert, key, 2)
	f.daemon.Reload()
	check(second)
	if err := os.WriteFile(cert, []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.daemon.Reload()
	check(second)
	if n := len(f.log.lines("certificate")); n != 2 {
		t.Errorf("%d lines about the certificate:\n%s", n, f.log.String())
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
