package api

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds and defaults of the parameters, as Datadog documents them.
const (
	defaultWindow = 15 * time.Minute
	defaultLimit  = 100
	maxLimit      = 7500
	maxGroupBys   = 10
)

// maxTime is the end of the year 9999. A time in milliseconds is beyond it.
const maxTime = 253402300799

// question is what one request asks for, checked.
type question struct {
	from, to time.Time
	now      bool // to is the current time
	groups   []field
	filters  []predicate
	limit    int
}

// parameters are all that a request may carry. Any other is refused, as an answer without, say, a
// misspelt filter would pass for one with it. The official clients send no others.
var parameters = []string{"from", "to", "group_by", "tags", "query", "limit"}

// parseQuestion checks the parameters of a request. The error joins one for each that is at fault.
func (f fields) parseQuestion(rawQuery string, now time.Time) (question, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return question{}, fmt.Errorf("query string: %w", err)
	}
	var faults []error
	for name, given := range values {
		if !slices.Contains(parameters, name) {
			faults = append(faults, fmt.Errorf("unknown parameter %q: want %s", name, strings.Join(parameters, ", ")))
		} else if len(given) > 1 {
			faults = append(faults, fmt.Errorf("%s is given %d times: want it once", name, len(given)))
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	fault := func(name string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s=%s: %w", name, shorten(values.Get(name)), err))
		}
	}
	var q question
	fault("from", q.parseFrom(values.Get("from"), values.Get("to"), now, fault))
	q.limit, err = parseLimit(values.Get("limit"))
	fault("limit", err)
	q.groups, err = f.parseGroups(values.Get("group_by"))
	fault("group_by", err)
	for name, parse := range map[string]func(string) (predicate, error){"tags": f.parseTags, "query": f.parseQuery} {
		if text := values.Get(name); strings.TrimSpace(text) != "" {
			filter, err := parse(text)
			fault(name, err)
			q.filters = append(q.filters, filter)
		}
	}
	return q, errors.Join(faults...)
}

// parseFrom sets the window that from and to ask for; either or both may be empty.
func (q *question) parseFrom(from, to string, now time.Time, fault func(string, error)) error {
	q.to, q.now = now, true
	if to != "" {
		seconds, err := parseTime(to)
		if err != nil {
			fault("to", err)
			return nil
		}
		q.to = time.Unix(seconds, 0)
		q.now = !q.to.Before(now.Truncate(time.Second))
	}
	q.from = q.to.Add(-defaultWindow)
	if from == "" {
		return nil
	}
	seconds, err := parseTime(from)
	if err != nil {
		return err
	}
	if q.from = time.Unix(seconds, 0); !q.from.Before(q.to) {
		return fmt.Errorf("not before to, which is %d", q.to.Unix())
	}
	return nil
}

func parseTime(text string) (int64, error) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 || seconds > maxTime {
		return 0, errors.New("want Unix seconds, such as 1700000000")
	}
	return seconds, nil
}

func parseLimit(text string) (int, error) {
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, fmt.Errorf("want a number from 1 to %d", maxLimit)
	}
	return n, nil
}

// defaultGroups are those of Datadog: connections by service, as its own page shows them, and DNS by
// name.
func (f fields) defaultGroups() []string {
	if f.kind == dnsQueries {
		return nil // the server's side is added
	}
	return []string{"client_service", "server_service"}
}

// parseGroups resolves the names of a comma list, in its order. DNS that is grouped by nothing of the
// server's side is grouped by the name asked for too, unless server_ungrouped stands there.
func (f fields) parseGroups(list string) ([]field, error) {
	names := f.defaultGroups()
	if strings.TrimSpace(list) != "" {
		names = strings.Split(list, ",")
	}
	if len(names) > maxGroupBys {
		return nil, fmt.Errorf("%d names: want %d at most", len(names), maxGroupBys)
	}
	var groups []field
	var seen []string
	none, server := false, ""
	for _, name := range names {
		name = strings.TrimSpace(name)
		if slices.Contains(seen, name) {
			return nil, fmt.Errorf("%q is named twice", name)
		}
		seen = append(seen, name)
		if name == ungrouped && f.kind == dnsQueries {
			none = true
			continue
		}
		found, err := f.named(name)
		if err != nil {
			return nil, err
		}
		if server == "" && ofServer(name) {
			server = name
		}
		groups = append(groups, found)
	}
	if f.kind != dnsQueries || server != "" && !none {
		return groups, nil
	}
	if none {
		if server != "" {
			return nil, fmt.Errorf("%s stands beside %s: want one of the two", ungrouped, server)
		}
		return groups, nil
	}
	name, err := f.named("network.dns_query")
	return append(groups, name), err
}

// shorten quotes text for an error, cut where it is long.
func shorten(text string) string {
	const most = 100
	if len(text) > most {
		return strconv.Quote(text[:most]) + "..."
	}
	return strconv.Quote(text)
}
