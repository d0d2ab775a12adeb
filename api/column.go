package api

import (
	"math"

	"socktally/record"
)

// column is one number of an answer: a counter, or a number calculated from counters.
type column[S any] struct {
	name string
	// of returns the number. known is false if there is none, for example because the kernel does not count it.
	of func(*S) (n uint64, known bool)
}

// columns returns the columns of a table of counters, with the names of the table. It leaves out a counter that is only
// a part of a shown number, and one that Cloud Network Monitoring does not have. knows says whether an optional counter
// is known in a sum.
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

// derived returns a column that is calculated from a sum and always known.
func derived[S any](name string, of func(*S) uint64) column[S] {
	return column[S]{name, func(sum *S) (uint64, bool) { return of(sum), true }}
}

// count turns a sum into an int64, the type in the answers. A larger sum becomes the largest int64.
func count(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
