// Package api answers the two read endpoints of Datadog's Cloud Network Monitoring API from records
// that a Source holds: connections and DNS queries, filtered, grouped and added up in one pass. The
// shapes of what it sends are in api/answer, so that a client of our own needs no more than those.
//
// What can be asked is the language of package query. An endpoint is one value of the type endpoint: where its
// records are, which names it knows, what it adds up and how a row of its answer looks. Its numbers are columns,
// which come from the tables of counters in package record.
//
// It reads, and changes nothing.
package api
