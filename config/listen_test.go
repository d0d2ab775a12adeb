package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeCertificate writes a certificate and its key, and returns the paths of the files.
func writeCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"host.invalid"}}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestListen checks that safe settings are accepted, and that the error names what is missing in the others.
func TestListen(t *testing.T) {
	cert, key := writeCertificate(t)
	const (
		goodKey = "0123456789abcdef"
		noKeys  = "other hosts can reach this address: want SOCKTALLY_API_KEYS with it, or a loopback address"
		noTLS   = "other hosts can reach this address: want SOCKTALLY_TLS_CERT and SOCKTALLY_TLS_KEY with it, or SOCKTALLY_TLS=proxy where a proxy in front speaks TLS"
	)
	for _, test := range []struct {
		env      environment
		address  string
		loopback bool
		want     []string // parts of the error, a line each
	}{
		{environment{}, "://", false, nil},
		{environment{"SOCKTALLY_LISTEN": "127.0.0.1:8127"}, "tcp://127.0.0.1:8127", true, nil},
		{environment{"SOCKTALLY_LISTEN": "127.9.0.1:0"}, "tcp://127.9.0.1:0", true, nil},
		{environment{"SOCKTALLY_LISTEN": "[::1]:8127"}, "tcp://[::1]:8127", true, nil},
		{environment{"SOCKTALLY_LISTEN": "[::ffff:127.0.0.1]:8127"}, "tcp://[::ffff:127.0.0.1]:8127", true, nil},
		{environment{"SOCKTALLY_LISTEN": "Localhost:8127"}, "tcp://127.0.0.1:8127", true, nil},
		{environment{"SOCKTALLY_LISTEN": "unix:///run/socktally/api.sock"}, "unix:///run/socktally/api.sock", false, nil},
		{environment{"SOCKTALLY_LISTEN": ":8127", "SOCKTALLY_API_KEYS": goodKey, "SOCKTALLY_TLS": "proxy"}, "tcp://:8127", false, nil},
		{environment{"SOCKTALLY_LISTEN": "192.0.2.1:1", "SOCKTALLY_API_KEYS": goodKey, "SOCKTALLY_TLS_CERT": cert, "SOCKTALLY_TLS_KEY": key}, "tcp://192.0.2.1:1", false, nil},

		{environment{"SOCKTALLY_LISTEN": ":8127"}, "", false, []string{noKeys, noTLS}},
		{environment{"SOCKTALLY_LISTEN": "0.0.0.0:8127"}, "", false, []string{noKeys, noTLS}},
		{environment{"SOCKTALLY_LISTEN": "[::]:8127"}, "", false, []string{noKeys, noTLS}},
		{environment{"SOCKTALLY_LISTEN": "localhost.invalid:8127"}, "", false, []string{noKeys, noTLS}},
		{environment{"SOCKTALLY_LISTEN": "127.0.0.1.invalid:8127", "SOCKTALLY_TLS": "proxy"}, "", false, []string{noKeys}},
		{environment{"SOCKTALLY_LISTEN": "192.0.2.1:8127", "SOCKTALLY_API_KEYS": goodKey}, "", false, []string{noTLS}},
		{environment{"SOCKTALLY_LISTEN": "192.0.2.1:8127", "SOCKTALLY_API_KEYS": " , "}, "", false, []string{noKeys, noTLS}},
		{environment{"SOCKTALLY_API_KEYS": goodKey + ",short"}, "", false, []string{"SOCKTALLY_API_KEYS: want a comma list of keys, each of 16 or more printable ASCII characters (its value is not shown)"}},
		{environment{"SOCKTALLY_API_KEYS": goodKey + "\xe9"}, "", false, []string{"SOCKTALLY_API_KEYS: want"}},
		{environment{"SOCKTALLY_TLS": "yes"}, "", false, []string{`SOCKTALLY_TLS="yes": want one of proxy`}},
		{environment{"SOCKTALLY_TLS_CERT": cert}, "", false, []string{`SOCKTALLY_TLS_CERT="` + cert + `": with SOCKTALLY_TLS_KEY="": open : no such file`}},
		{environment{"SOCKTALLY_TLS_CERT": key, "SOCKTALLY_TLS_KEY": cert}, "", false, []string{"want two files, of a certificate chain and its key, in PEM"}},
		{environment{"SOCKTALLY_LISTEN": "8127"}, "", false, []string{`SOCKTALLY_LISTEN="8127": want host:port, with an IPv6 address in brackets, or unix:///path`}},
		{environment{"SOCKTALLY_LISTEN": "::1:8127"}, "", false, []string{"want host:port"}},
		{environment{"SOCKTALLY_LISTEN": "127.0.0.1:x"}, "", false, []string{`port "x": want 0 to 65535`}},
		{environment{"SOCKTALLY_LISTEN": "a b:1"}, "", false, []string{`host "a b": want`}},
		{environment{"SOCKTALLY_LISTEN": "unix://run/x"}, "", false, []string{"want an absolute path"}},
		{environment{"SOCKTALLY_LISTEN": "unix:///tmp"}, "", false, []string{"this is a directory"}},
		{environment{"SOCKTALLY_RETENTION": "1m"}, "", false, []string{`SOCKTALLY_RETENTION="1m": want a duration of at least 5m0s`}},
	} {
		cfg, err := Load(test.env.Lookup)
		if test.want == nil {
			if err != nil || cfg.API.Listen.String() != test.address || cfg.API.Loopback != test.loopback {
				t.Errorf("%v: %v %v, %v", test.env, cfg.API.Listen, cfg.API.Loopback, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%v was accepted", test.env)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(test.want) {
			t.Errorf("%v: %v", test.env, err)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(lines[i], want) || strings.Contains(lines[i], goodKey) {
				t.Errorf("%v: got %s, want %s", test.env, lines[i], want)
			}
		}
	}
	env := environment{"SOCKTALLY_LISTEN": "127.0.0.1:1", "SOCKTALLY_FLOWS": "off"}
	if cfg, err := Load(env.Lookup); err != nil || len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], "learns nothing new") {
		t.Errorf("%q %v", cfg.Warnings, err)
	}
}
