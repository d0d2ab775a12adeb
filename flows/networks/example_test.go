package networks_test

import (
	"fmt"
	"net/netip"
	"strings"

	"socktally/flows/networks"
)

func Example() {
	table, err := networks.Parse(strings.NewReader(`
		10.0.0.0/8   dc:north
		10.1.2.0/24  dc:north name:db-replicas   # the longest prefix counts
	`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, addr := range []string{"10.1.2.3", "10.9.9.9", "192.0.2.1"} {
		name, tags := table.Lookup(netip.MustParseAddr(addr))
		fmt.Printf("%s %q %q\n", addr, name, tags)
	}
	// Output:
	// 10.1.2.3 "db-replicas" ["dc:north"]
	// 10.9.9.9 "" ["dc:north"]
	// 192.0.2.1 "" []
}
