package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"socktally/query"
)

// errTooMany ends an aggregation that would need too much memory.
var errTooMany = errors.New("too many groups")

// checkEvery is the number of records after which an aggregation checks whether its context has ended.
const checkEvery = 1024

// grouping has one sum of the type S for each group of records with the same values of fields.
type grouping[S any] struct {
	ctx    context.Context
	wanted query.Predicate // nil if all records are wanted
	values []query.Appender
	most   int
	seen   int
	index  map[string]int
	groups []group[S]
	key    []byte
}

type group[S any] struct {
	key string
	sum S
}

func newGrouping[S any](ctx context.Context, q *question, most int) *grouping[S] {
	g := &grouping[S]{ctx: ctx, wanted: q.wanted, most: most, index: map[string]int{}}
	for i := range q.groups {
		g.values = append(g.values, q.groups[i].Appender())
	}
	return g
}

// sumOf returns the sum for the group of a record, or nil if the record is not wanted. The sum is valid until the next
// call.
func (g *grouping[S]) sumOf(row *query.Row) (*S, error) {
	if g.seen++; g.seen%checkEvery == 0 {
		if err := g.ctx.Err(); err != nil {
			return nil, err
		}
	}
	if g.wanted != nil && !g.wanted(row) {
		return nil, nil
	}
	g.key = g.key[:0]
	for _, appendTo := range g.values {
		g.key = appendTo(g.key, row)
	}
	i, found := g.index[string(g.key)]
	if !found {
		if len(g.groups) >= g.most {
			return nil, fmt.Errorf("%w: more than %d", errTooMany, g.most)
		}
		i = len(g.groups)
		key := string(g.key)
		g.index[key] = i
		g.groups = append(g.groups, group[S]{key: key})
	}
	return &g.groups[i].sum, nil
}

// largest returns at most limit groups, the largest first. Groups of the same size are sorted by their values.
func (g *grouping[S]) largest(limit int, size func(*S) uint64) []*group[S] {
	all := make([]*group[S], len(g.groups))
	for i := range g.groups {
		all[i] = &g.groups[i]
	}
	slices.SortFunc(all, func(a, b *group[S]) int {
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

// id returns the values of a group as "name:value", with the separator between them. A comma in a value becomes %2C and a
// percent sign %25, so that two groups never have the same id. Without fields there is only one group.
func id(fields []query.Field, values [][]string, separator string) string {
	if len(fields) == 0 {
		return query.Ungrouped
	}
	escape := strings.NewReplacer("%", "%25", ",", "%2C")
	var parts []string
	for i := range fields {
		for _, value := range values[i] {
			parts = append(parts, fields[i].Name+":"+escape.Replace(value))
		}
	}
	return strings.Join(parts, separator)
}
