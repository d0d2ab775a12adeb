package record_test

import (
	"fmt"
	"net/netip"

	"socktally/record"
)

func Example() {
	flow := record.Flow{
		Protocol: "tcp", Family: "ipv4", Source: record.FromEBPF, Direction: record.Outgoing,
		Client:   record.Endpoint{Addr: netip.MustParseAddr("10.0.0.7"), Owner: record.Owner{Service: "web"}},
		Server:   record.Endpoint{Addr: netip.MustParseAddr("192.0.2.1"), Port: 443},
		Counters: record.Counters{BytesSentByClient: 300, BytesSentByServer: 4000, RTTSum: 1200, RTTSamples: 1},
	}
	flow.Add(&record.Counters{BytesSentByClient: 100, Retransmits: 2, RTTSum: 1800, RTTSamples: 1})

	local, remote := flow.Direction.Ends(&flow.Client, &flow.Server)
	fmt.Println(local.Owner.Service, "to", remote.Addr)
	for _, field := range record.Fields() {
		if n := *field.Of(&flow.Counters); n > 0 && !field.Part {
			fmt.Println(field.Name, n)
		}
	}
	fmt.Println("rtt_micro_seconds", flow.RTTMicroSeconds())
	// Output:
	// web to 192.0.2.1
	// bytes_sent_by_client 400
	// bytes_sent_by_server 4000
	// tcp_retransmits 2
	// rtt_micro_seconds 1500
}
