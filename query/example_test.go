package query_test

import (
	"fmt"
	"net/netip"

	"socktally/query"
	"socktally/record"
)

func Example() {
	tree, err := query.Connections.Parse("server_port:(80 OR 443) -CIDR(client_ip, 10.0.0.0/8)")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tree)

	wanted, err := query.Connections.Compile(tree)
	if err != nil {
		fmt.Println(err)
		return
	}
	row := query.NewRow("web-1")
	for _, client := range []string{"192.0.2.7", "10.0.0.7"} {
		row.SetFlow(&record.Flow{
			Protocol: "tcp", Direction: record.Incoming,
			Client: record.Endpoint{Addr: netip.MustParseAddr(client)},
			Server: record.Endpoint{Addr: netip.MustParseAddr("192.0.2.1"), Port: 443},
		})
		fmt.Println(client, wanted(row))
	}
	// Output:
	// (server_port:80 OR server_port:443) AND NOT CIDR(client_ip, 10.0.0.0/8)
	// 192.0.2.7 true
	// 10.0.0.7 false
}
