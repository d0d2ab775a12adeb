// Package api answers the two read endpoints of Datadog's Cloud Network Monitoring API from records
// that a Source holds: connections and DNS queries, filtered, grouped and added up in one pass. The
// shapes of what it sends are in api/answer, so that a client of our own needs no more than those.
//
// It reads, and changes nothing.
package api
