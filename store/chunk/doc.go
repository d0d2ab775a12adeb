// Package chunk encodes and decodes chunks, the form in which a store keeps records. A chunk has records of one kind,
// column by column, the texts, addresses and owners that they use, and a checksum. docs/store.md describes each byte.
//
// A chunk describes itself, because its columns have names. A reader skips a column that it does not know. A column
// that a chunk does not have reads as zero. So this package needs no change for a new counter, and older and newer
// programs can read each other's chunks. Only a new layout is something that older programs cannot read.
package chunk
