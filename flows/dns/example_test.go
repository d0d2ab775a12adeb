package dns_test

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"socktally/flows/dns"
)

func Example() {
	name, addr := dnsmessage.MustNewName("db.example.invalid."), netip.MustParseAddr("192.0.2.1")
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	answer := query
	answer.Response = true
	answer.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60},
		Body:   &dnsmessage.AResource{A: addr.As4()},
	}}

	tallier := dns.New[string](dns.Options{}) // its owners are strings
	for i, m := range []dnsmessage.Message{query, answer} {
		payload, err := m.Pack()
		if err != nil {
			fmt.Println(err)
			return
		}
		tallier.Add(dns.Packet[string]{
			Time: uint64(i) * uint64(3*time.Millisecond), FromClient: !m.Response, Owner: "web", Payload: payload,
			Client: netip.MustParseAddrPort("10.0.0.7:40000"), Server: netip.MustParseAddrPort("10.0.0.53:53"),
		})
	}
	for key, c := range tallier.Take() {
		fmt.Println(key.Owner, "asked", key.Server, "for", key.Name, key.Type)
		fmt.Println(c.Requests, "request,", c.Successes, "success,", c.SuccessLatency.Percentile(50), "us")
	}
	fmt.Println(addr, "is", tallier.NameOf(addr, uint64(time.Second)))
	// Output:
	// web asked 10.0.0.53:53 for db.example.invalid A
	// 1 request, 1 success, 3000 us
	// 192.0.2.1 is db.example.invalid
}
