package cli

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// parseWhen parses a time: Unix seconds, RFC 3339, "now", or a duration with "ago", such as "15m ago" or, in days,
// "2d ago". The result is in Unix seconds.
func parseWhen(text string, now time.Time) (int64, error) {
	text = strings.TrimSpace(text)
	if text == "now" {
		return now.Unix(), nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds >= 0 {
		return seconds, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.Unix(), nil
	}
	if ago, ok := strings.CutSuffix(text, "ago"); ok {
		ago = strings.TrimSpace(ago)
		if days, ok := strings.CutSuffix(ago, "d"); ok {
			if n, err := strconv.ParseUint(days, 10, 16); err == nil {
				return now.AddDate(0, 0, -int(n)).Unix(), nil
			}
		} else if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
			return now.Add(-d).Unix(), nil
		}
	}
	return 0, errors.New(`want a time such as "15m ago", "2d ago", now, 1700000000 or 2026-01-31T12:00:00Z`)
}
