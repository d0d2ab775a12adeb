package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-envparse"
)

// DefaultEnvFile is where the packages put the settings.
const DefaultEnvFile = "/etc/socktally/socktally.env"

// OverlayEnvFile sets the variables of the file at path in the environment of this process, except
// those that the environment has already: a variable given by hand wins over the file. A file that
// does not exist is an error only if mustExist. Nothing is set if any line is wrong.
//
// The process's own environment is changed, rather than a copy of it, because the DogStatsD client
// reads DD_ENTITY_ID and others from there by itself.
func OverlayEnvFile(path string, mustExist bool) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) && !mustExist {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read env file: %w", err)
	}
	defer f.Close()
	vars, err := parseEnvFile(f)
	if err != nil {
		return fmt.Errorf("read env file %s: %w", path, err)
	}
	for name, value := range vars {
		if _, given := os.LookupEnv(name); given {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("read env file %s: %s: %w", path, name, err)
		}
	}
	return nil
}

// parseEnvFile reads lines of NAME=value. Empty lines and lines that begin with # are passed over;
// a value may stand in single or double quotes, and needs to if it holds a #.
func parseEnvFile(r io.Reader) (map[string]string, error) {
	vars, err := envparse.Parse(r)
	var parseErr *envparse.ParseError
	if errors.As(err, &parseErr) && parseErr.Line > 0 {
		return nil, fmt.Errorf("line %d: %w (a line is NAME=value)", parseErr.Line, parseErr.Err)
	}
	return vars, err
}
