// Package query is the language of filters: it turns a text such as
//
//	client_service:web AND NOT CIDR(network.server.ip, 10.0.0.0/8)
//
// into a tree of plain values, and says of which records a tree holds. The tree says nothing of how it is
// evaluated: Compile makes a function of it for records in memory, and a store that has its own language may
// make that of it instead.
//
// A Kind says which names there are. A name stands for a Field, by which records can be grouped too.
package query
