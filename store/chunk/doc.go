// Package chunk is the form in which a store keeps records: some of one kind together, column by column, with the
// texts, addresses and owners that they use, and a checksum. docs/store.md describes it byte by byte.
//
// A chunk describes itself. Its columns have names: a column that a reader does not know is skipped, and one that a
// chunk lacks reads as zero. So a new counter needs nothing here, neither to be written nor for what was written
// before it; only a new layout of the whole is something that older programs cannot read.
package chunk
