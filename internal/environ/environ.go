// Package environ changes the environment of this process, which is done nowhere else: socktally's own code is
// handed the variables that it reads. What needs it are libraries that read the environment by themselves and can
// be told in no other way: the DogStatsD client (DD_ENTITY_ID, DD_ENV and others), net/http (HTTPS_PROXY, NO_PROXY),
// crypto/x509 (SSL_CERT_FILE) and time (TZ).
package environ

import (
	"fmt"
	"os"
)

// Set sets variables. The function that it returns puts back what was there before, and so does Set itself
// where it returns an error.
func Set(variables map[string]string) (restore func(), err error) {
	before := map[string]func() error{}
	restore = func() {
		for _, undo := range before {
			_ = undo() // it sets what was set before
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
