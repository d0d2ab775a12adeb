// Package record holds what a tally is made of: one record for what one flow did in an interval, and one for what
// became of its DNS queries, each with the two ends that took part and who owns them. Everything that counts, keeps,
// sends or shows flows speaks of them in these types.
//
// The counters are listed once, in Fields and DNSFields. JSON, the store, the API and the documentation range over
// those lists, so that a counter that is added there reaches them all.
package record
