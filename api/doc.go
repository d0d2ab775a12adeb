// Package api serves the two read endpoints of Datadog's Cloud Network Monitoring API: connections and DNS queries. It
// filters, groups and adds up the records of a Source in one pass. The types of the answers are in api/answer, so that
// a client needs only that package.
//
// Package query has the language of filters. An endpoint is one value of the type endpoint. It says where the records
// are, which names may be asked for, what is added up, and how a row of the answer looks. The numbers of a row are
// columns, which come from the tables of counters in package record.
//
// The package only reads.
package api
