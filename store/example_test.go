package store_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"socktally/record"
	"socktally/store"
)

func Example() {
	s, err := store.Open(store.Options{}) // without a Path, in memory
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	at := time.Now()
	flow := record.Flow{
		Protocol: "tcp", Direction: record.Outgoing,
		Client:   record.Endpoint{Addr: netip.MustParseAddr("10.0.0.7")},
		Server:   record.Endpoint{Addr: netip.MustParseAddr("192.0.2.1"), Port: 443},
		Counters: record.Counters{BytesSentByClient: 100},
	}
	for range 2 { // two intervals of one bucket
		if err := s.Add(at, []record.Flow{flow}, nil); err != nil {
			fmt.Println(err)
		}
	}
	err = s.Connections(context.Background(), at, at.Add(time.Second), func(f *record.Flow) error {
		fmt.Println(f.Client.Addr, f.Server.Addr, f.Server.Port, f.BytesSentByClient)
		return nil
	})
	fmt.Println(err)
	// Output:
	// 10.0.0.7 192.0.2.1 443 200
	// <nil>
}
