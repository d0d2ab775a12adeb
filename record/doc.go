// Package record has the types of a tally: a Flow for each flow of an interval, and a DNS for each kind of DNS query. Both
// have two ends with their owners. All packages that count, keep, send or show flows use these types.
//
// Fields and DNSFields list the counters. JSON, the store, the API and the documentation range over these lists, so a new
// counter in a list is in all of them.
package record
