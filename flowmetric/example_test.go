package flowmetric_test

import (
	"fmt"
	"net/netip"
	"time"

	"socktally/flowmetric"
	"socktally/record"
)

func Example() {
	splitter, err := flowmetric.New(flowmetric.Options{Tags: []string{"service", "server_port"}, MaxCombinations: 100})
	if err != nil {
		fmt.Println(err)
		return
	}
	flow := func(server string, sent uint64) record.Flow {
		return record.Flow{
			Protocol: "tcp", Direction: record.Outgoing,
			Client:   record.Endpoint{Addr: netip.MustParseAddr("10.0.0.7"), Owner: record.Owner{Service: "web"}},
			Server:   record.Endpoint{Addr: netip.MustParseAddr(server), Port: 443},
			Counters: record.Counters{BytesSentByClient: sent},
		}
	}
	flows := []record.Flow{flow("192.0.2.1", 100), flow("192.0.2.2", 50)}
	for _, s := range splitter.Samples(flows, time.Now(), 30*time.Second) {
		fmt.Println(s.Name, s.Kind, s.Value, s.Tags)
	}
	// Output:
	// socktally.flow.bytes_sent count 150 [service:web server_port:443]
	// socktally.flows.contexts gauge 1 []
	// socktally.flows.combinations gauge 1 []
}
