package api

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"socktally/api/answer"
	"socktally/query"
	"socktally/record"
)

// connections returns the endpoint for flows.
func connections(table []record.Field[record.Counters]) *endpoint[record.Flow, record.Counters] {
	shown := connectionColumns(table)
	return &endpoint[record.Flow, record.Counters]{
		path: ConnectionsPath,
		// By service, as in the example of Datadog's documentation.
		vocabulary: vocabulary{kind: query.Connections, groupBy: []string{"client_service", "server_service"}},
		records:    Source.Connections,
		set:        (*query.Row).SetFlow,
		add:        func(sum *record.Counters, r *record.Flow) { sum.Add(&r.Counters) },
		size:       func(sum *record.Counters) uint64 { return sum.BytesSentByClient + sum.BytesSentByServer },
		rowType:    answer.TypeConnection,
		separator:  ", ",
		appendAttributes: func(b []byte, fields []query.Field, values [][]string, sum *record.Counters) ([]byte, error) {
			groupBys := make(map[string][]string, len(values))
			for i, of := range values {
				groupBys[fields[i].Name] = of
			}
			return appendConnection(b, groupBys, shown, sum)
		},
	}
}

// groupBysName is the JSON member of a row that has the values of its group.
const groupBysName = "group_bys"

// connectionColumns returns the columns, sorted by name. The one with groupBysName has no number: it only marks the
// place of the group's values.
func connectionColumns(table []record.Field[record.Counters]) []column[record.Counters] {
	all := columns(table, func(sum *record.Counters, k record.Known) bool { return sum.Known&k != 0 })
	all = append(all, column[record.Counters]{name: groupBysName},
		derived("rtt_micro_seconds", func(sum *record.Counters) uint64 { return sum.RTTMicroSeconds() }))
	slices.SortFunc(all, func(a, b column[record.Counters]) int { return cmp.Compare(a.name, b.name) })
	return all
}

// appendConnection appends the JSON of an answer.ConnectionAttributes. It leaves out columns with an unknown number.
func appendConnection(b []byte, groupBys map[string][]string, shown []column[record.Counters], sum *record.Counters) ([]byte, error) {
	groups, err := json.Marshal(groupBys)
	if err != nil {
		return nil, err
	}
	before := byte('{')
	for _, c := range shown {
		value := groups
		if c.name != groupBysName {
			n, known := c.of(sum)
			if !known {
				continue
			}
			var room [20]byte
			value = strconv.AppendInt(room[:0], count(n), 10)
		}
		b = append(append(append(b, before, '"'), c.name...), `":`...) // no name needs escaping
		b = append(b, value...)
		before = ','
	}
	return append(b, '}'), nil
}
