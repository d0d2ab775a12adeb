// Package query is the language of filters: it turns a text such as
//
//	client_service:web AND NOT CIDR(network.server.ip, 10.0.0.0/8)
//
// into a tree of plain values, and says which records match the tree. The tree does not say how it is evaluated.
// Compile turns it into a function for records in memory. A store with a language of its own can translate the tree into
// that language instead.
//
// A Kind says which names there are. A name stands for a Field. Records can also be grouped by a Field.
package query
