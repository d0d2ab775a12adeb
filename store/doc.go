// Package store keeps flow and DNS records for some days, in a file of bounded size or in memory.
//
// The store keeps records in buckets of five minutes. In a bucket, records of the same flow (all members equal
// except the counters) are added up. The store knows the time of a record only by its bucket: an interval selects
// each bucket that overlaps it, and always the whole bucket.
//
// The store collects a bucket in memory. It writes the bucket in one synced transaction when another bucket begins.
// So a crash of the process or of the machine loses at most the bucket that is open. The file is an SQLite database
// in WAL mode. One row is one chunk of package chunk: up to a thousand records of one bucket, column by column.
// Chunks never change. In memory the records are also in chunks: without a file, while the file cannot be written,
// and when a reader asks for the open bucket.
//
// Only one process at a time may use the file. A lock file beside it makes sure of that.
package store
