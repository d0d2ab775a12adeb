// Package environ is the only package that changes the environment of this process. The other packages of socktally get the
// variables passed in. Some libraries read the environment themselves and have no other way to set these values: the
// DogStatsD client (DD_ENTITY_ID, DD_ENV and others), net/http (HTTPS_PROXY, NO_PROXY), crypto/x509 (SSL_CERT_FILE) and
// time (TZ).
package environ

import (
	"fmt"
	"os"
)

// Set sets variables. restore sets them back to their previous values. If Set returns an error, it has done that already.
func Set(variables map[string]string) (restore func(), err error) {
	before := map[string]func() error{}
	restore = func() {
		for _, undo := range before {
			_ = undo() // cannot fail: the same name was set before
		}
	}
	for name, value := range variables {
		undo := func() error { return os.Unsetenv(name) }
		if old, found := os.LookupEnv(name); found {
			undo = func() error { return os.Setenv(name, old) }
		}
		if err := os.Setenv(name, value); err != nil {
			restore()
			return nil, fmt.Errorf("set variable %s: %w", name, err)
		}
		before[name] = undo
	}
	return restore, nil
}
