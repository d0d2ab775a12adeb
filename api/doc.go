// Package api answers the two read endpoints of Datadog's Cloud Network Monitoring API from records
// that a Source holds: connections and DNS queries, filtered, grouped and added up in one pass. What
// it sends is made of the official client's own models, so that any official client can read it.
//
// It reads, and changes nothing.
package api
