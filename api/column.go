package api

import (
	"math"

	"socktally/record"
)

// column is one number of an answer: a counter, or what is worked out of some.
type column[S any] struct {
	name string
	// of returns the number, and whether it is known.
	of func(*S) (n uint64, known bool)
}

// columns are those of a table of counters, each under its name there. A counter that is only a part of what
// is shown is not among them, nor is one that Cloud Network Monitoring does not have. knows says whether the
// optional counters are known.
func columns[S any](table []record.Field[S], knows func(*S, record.Known) bool) []column[S] {
	var all []column[S]
	for _, f := range table {
		if f.Part || f.NotInAPI {
			continue
		}
		all = append(all, column[S]{f.Name, func(sum *S) (uint64, bool) {
			return *f.Of(sum), f.Optional == 0 || knows(sum, f.Optional)
		}})
	}
	return all
}

// derived is a column of a number that is always known.
func derived[S any](name string, of func(*S) uint64) column[S] {
	return column[S]{name, func(sum *S) (uint64, bool) { return of(sum), true }}
}

// count is a sum as the answers have it, which know no more than int64.
func count(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
