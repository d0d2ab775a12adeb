// Package store keeps flow and DNS records for some days, in a file of bounded size or in memory.
//
// Records are kept by buckets of five minutes, in which those of the same flow (the same in all but
// counters) are added up. Time is no finer than that: an interval selects every bucket that overlaps
// it, whole.
//
// A bucket is gathered in memory and written when another begins, in one synced transaction, so that a
// crash, also of the machine, loses at most the bucket that is being gathered. In the file, an SQLite
// database in WAL mode, a row is not a record but a chunk, of package chunk: up to a thousand records of
// one bucket, column by column. Chunks are never changed. What memory keeps (without a file, while the
// file cannot be written, or for a reader of the bucket that is not finished) is chunks too.
//
// The file belongs to one process at a time; a lock file beside it sees to that.
package store
