package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
)

// DefaultEnvFile is the env file of the Debian and RPM packages.
const DefaultEnvFile = "/etc/socktally/socktally.env"

// ReadEnvFile reads the variables in the file at path. If the file does not exist, that is an error only if mustExist. If any
// line is wrong, it returns no variable at all.
func ReadEnvFile(path string, mustExist bool) (Environment, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !mustExist {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read env file: %w", err)
	}
	vars, err := parseEnvFile(string(text))
	if err != nil {
		return nil, fmt.Errorf("read env file %s: %w", path, err)
	}
	return vars, nil
}

// parseEnvFile parses lines of NAME=value. There may be the word export before the name. If a name occurs twice, the last
// line counts. A # at the start of a line or after white space begins a comment. An error has the number of the line, but not
// its text, because there may be a secret in it.
func parseEnvFile(text string) (Environment, error) {
	vars := Environment{}
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, found := strings.Cut(line, "=")
		if !found {
			return nil, fmt.Errorf("line %d: want NAME=value, found no =", number)
		}
		if after, exported := strings.CutPrefix(name, "export"); exported && strings.TrimLeft(after, " \t") != after {
			name = after
		}
		name = strings.TrimSpace(name)
		if name == "" || '0' <= name[0] && name[0] <= '9' || strings.ContainsFunc(name, func(r rune) bool { return !isNameRune(r) }) {
			return nil, fmt.Errorf("line %d: want NAME=value with letters, digits and _ in the name, and no digit first", number)
		}
		value, err := parseEnvValue(strings.TrimSpace(rest))
		if err != nil {
			return nil, fmt.Errorf("line %d: the value of %s: %w", number, name, err)
		}
		vars[name] = value
	}
	return vars, nil
}

// parseEnvValue parses what follows the = of a line: text up to a comment, or text in quotes. Single quotes keep the text as
// it is. In double quotes, \\ is \ and \" is ".
func parseEnvValue(s string) (string, error) {
	if i := strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }); i >= 0 {
		return "", errors.New("holds a control character")
	}
	if s == "" || s[0] != '"' && s[0] != '\'' {
		for i := range s {
			if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
				s = s[:i]
				break
			}
		}
		return strings.TrimRight(s, " \t"), nil
	}

	quote := s[0]
	var value strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			if rest := strings.TrimLeft(s[i+1:], " \t"); rest != "" && (rest[0] != '#' || len(rest) == len(s[i+1:])) {
				return "", fmt.Errorf("only a comment may follow the closing %c", quote)
			}
			return value.String(), nil
		case s[i] == '\\' && quote == '"':
			i++
			if i == len(s) || s[i] != '\\' && s[i] != '"' {
				return "", errors.New(`in double quotes \ stands only before \ and "; use single quotes to keep it as it is`)
			}
		}
		value.WriteByte(s[i])
	}
	return "", fmt.Errorf("the %c is not closed", quote)
}
