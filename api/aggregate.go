package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"socktally/record"
	"strings"
	"time"
)

// Source holds what is asked for. A call's yield is called for each record of any part of the window
// [from, to), for several of one flow perhaps; the record is valid until it returns, and its error ends
// the call and is what that returns. A Source is safe for concurrent use.
type Source interface {
	Connections(ctx context.Context, from, to time.Time, yield func(*record.Flow) error) error
	DNS(ctx context.Context, from, to time.Time, yield func(*record.DNS) error) error
}

// errTooMany ends an aggregation that would take too much memory.
var errTooMany = errors.New("too many groups")

// checkEvery is after how many records an aggregation looks whether it is still wanted.
const checkEvery = 1024

// grouping adds up what T sums, by the values of fields.
type grouping[T any] struct {
	ctx     context.Context
	fields  []field
	filters []predicate
	most    int
	seen    int
	index   map[string]int
	groups  []group[T]
	key     []byte
}

type group[T any] struct {
	key string
	sum T
}

func newGrouping[T any](ctx context.Context, q *question, most int) *grouping[T] {
	return &grouping[T]{ctx: ctx, fields: q.groups, filters: q.filters, most: most, index: map[string]int{}}
}

// sumOf returns the sum that a record belongs to, nil where it is not wanted. It is valid until the
// next call.
func (g *grouping[T]) sumOf(v *view) (*T, error) {
	if g.seen++; g.seen%checkEvery == 0 {
		if err := g.ctx.Err(); err != nil {
			return nil, err
		}
	}
	for _, wanted := range g.filters {
		if !wanted(v) {
			return nil, nil
		}
	}
	g.key = g.key[:0]
	for i := range g.fields {
		g.key = g.fields[i].appendValues(g.key, v)
	}
	i, found := g.index[string(g.key)]
	if !found {
		if len(g.groups) >= g.most {
			return nil, fmt.Errorf("%w: more than %d", errTooMany, g.most)
		}
		i = len(g.groups)
		key := string(g.key)
		g.index[key] = i
		g.groups = append(g.groups, group[T]{key: key})
	}
	return &g.groups[i].sum, nil
}

// largest returns at most limit groups, the largest first, and those of one size by their values.
func (g *grouping[T]) largest(limit int, size func(*T) uint64) []*group[T] {
	all := make([]*group[T], len(g.groups))
	for i := range g.groups {
		all[i] = &g.groups[i]
	}
	slices.SortFunc(all, func(a, b *group[T]) int {
		if m, n := size(&a.sum), size(&b.sum); m != n {
			if m > n {
				return -1
			}
			return 1
		}
		return strings.Compare(a.key, b.key)
	})
	return all[:min(limit, len(all))]
}

// id is the values of a group, "name:value", with the separator between. A comma or a percent sign in
// a value is written as %2C or %25, so that no two groups have one id. Without fields there is one group.
func id(fields []field, values [][]string, separator string) string {
	if len(fields) == 0 {
		return ungrouped
	}
	escape := strings.NewReplacer("%", "%25", ",", "%2C")
	var parts []string
	for i := range fields {
		for _, value := range values[i] {
			parts = append(parts, fields[i].name+":"+escape.Replace(value))
		}
	}
	return strings.Join(parts, separator)
}

// aggregateConnections groups the connections of a source.
func aggregateConnections(ctx context.Context, s Source, q *question, most int) (*grouping[record.Counters], error) {
	g := newGrouping[record.Counters](ctx, q, most)
	v := &view{}
	err := s.Connections(ctx, q.from, q.to, func(r *record.Flow) error {
		v.client, v.server = &r.Client, &r.Server
		v.clientHere, v.serverHere = r.Direction.ClientIsHere(), r.Direction.ServerIsHere()
		v.protocol, v.direction, v.domain = r.Protocol, string(r.Direction), r.ServerDomain
		sum, err := g.sumOf(v)
		if sum != nil {
			sum.Add(&r.Counters)
		}
		return err
	})
	return g, err
}

// aggregateDNS groups the queries of a source.
func aggregateDNS(ctx context.Context, s Source, q *question, most int) (*grouping[record.DNSCounts], error) {
	g := newGrouping[record.DNSCounts](ctx, q, most)
	v := &view{}
	err := s.DNS(ctx, q.from, q.to, func(r *record.DNS) error {
		v.client, v.server = &r.Client, &r.Server
		v.clientHere, v.serverHere = r.Direction.ClientIsHere(), r.Direction.ServerIsHere()
		v.protocol, v.dnsName, v.dnsType = r.Protocol, r.Name, r.Type
		sum, err := g.sumOf(v)
		if sum != nil {
			sum.Add(&r.DNSCounts)
		}
		return err
	})
	return g, err
}
