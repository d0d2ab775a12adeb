package api

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"socktally/query"
)

// Bounds and defaults of the parameters, as Datadog documents them.
const (
	defaultWindow = 15 * time.Minute
	defaultLimit  = 100
	maxLimit      = 7500
	maxGroupBys   = 10
)

// maxTime is the end of the year 9999, in Unix seconds. A time that is in milliseconds by mistake is beyond it.
const maxTime = 253402300799

// vocabulary is the set of names that a question to one endpoint may use, and the names that it has by default.
type vocabulary struct {
	kind    query.Kind
	groupBy []string // used if the question has no group_by
	// serverSide is a name, or "". If group_by has no name of the server's side and does not have server_ungrouped, the
	// answer is grouped by this name too.
	serverSide string
}

// question is a request after its parameters were checked.
type question struct {
	from, to time.Time
	now      bool // the window ends now or later
	groups   []query.Field
	wanted   query.Predicate // nil if all records are wanted
	limit    int
}

// parameters are the parameters that a request may have. Any other is refused: if a misspelt filter were ignored, the
// client would take the answer for a filtered one. The official clients send no others.
var parameters = []string{"from", "to", "group_by", "tags", "query", "limit"}

// parseQuestion checks the parameters of a request. The error joins one error for each wrong parameter.
func (v *vocabulary) parseQuestion(rawQuery string, now time.Time) (question, error) {
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
	q.groups, err = v.parseGroups(values.Get("group_by"))
	fault("group_by", err)
	var filters query.And
	for _, filter := range []struct {
		name  string
		parse func(string) (query.Node, error)
	}{{"tags", v.kind.ParseTags}, {"query", v.kind.Parse}} {
		if text := values.Get(filter.name); strings.TrimSpace(text) != "" {
			n, err := filter.parse(text)
			fault(filter.name, err)
			filters = append(filters, n)
		}
	}
	if len(faults) > 0 {
		return question{}, errors.Join(faults...)
	}
	switch len(filters) {
	case 0:
	case 1:
		q.wanted, err = v.kind.Compile(filters[0])
	default:
		q.wanted, err = v.kind.Compile(filters)
	}
	return q, err
}

// parseFrom sets the window. from, to or both may be empty.
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

// parseGroups returns the fields for a comma list of names, in the same order.
func (v *vocabulary) parseGroups(list string) ([]query.Field, error) {
	names := v.groupBy
	if strings.TrimSpace(list) != "" {
		names = strings.Split(list, ",")
	}
	if len(names) > maxGroupBys {
		return nil, fmt.Errorf("%d names: want %d at most", len(names), maxGroupBys)
	}
	var groups []query.Field
	var seen []string
	none, server := false, ""
	for _, name := range names {
		name = strings.TrimSpace(name)
		if slices.Contains(seen, name) {
			return nil, fmt.Errorf("%q is named twice", name)
		}
		seen = append(seen, name)
		if name == query.Ungrouped && v.serverSide != "" {
			none = true
			continue
		}
		found, err := v.kind.Field(name)
		if err != nil {
			return nil, err
		}
		if server == "" && ofServer(name) {
			server = name
		}
		groups = append(groups, found)
	}
	switch {
	case none && server != "":
		return nil, fmt.Errorf("%s stands beside %s: want one of the two", query.Ungrouped, server)
	case v.serverSide == "" || none || server != "":
		return groups, nil
	}
	name, err := v.kind.Field(v.serverSide)
	return append(groups, name), err
}

// ofServer says whether a name is one of the server's side. For DNS, the name and type of the query belong to that side.
func ofServer(name string) bool {
	return strings.HasPrefix(name, "server_") || name == "network.server.ip" || strings.HasPrefix(name, "network.dns_")
}

// shorten quotes a text for an error and cuts a long one.
func shorten(text string) string {
	const most = 100
	if len(text) > most {
		return strconv.Quote(text[:most]) + "..."
	}
	return strconv.Quote(text)
}
