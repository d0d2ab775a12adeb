package store_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"socktally/record"
	"time"
)

// busy makes the records of a host with some services: most flows come in, each from another client;
// the rest go out to services with names, and to neighbours within the host. Each call, of one
// interval, has the same flows for the same n and seed, with other counters.
type busy struct {
	random *rand.Rand
	flows  []record.Flow
	dns    []record.DNS
}

func newBusy(n int, seed uint64) *busy {
	b := &busy{random: rand.New(rand.NewPCG(seed, 1))}
	var owners []record.Owner
	for i := range 20 {
		service := fmt.Sprintf("service-%d", i)
		owners = append(owners, record.Owner{
			PID: uint32(1000 + 37*i), Process: "app" + fmt.Sprint(i), Service: service, Env: "prod", Version: fmt.Sprintf("1.%d.3", i),
			Tags: []string{"team:core", "tier:" + fmt.Sprint(i%3)}, CgroupID: uint64(70000 + i),
			Cgroup:      "/system.slice/" + service + ".service",
			ContainerID: fmt.Sprintf("%064x", b.random.Uint64()), NetNS: 4026531840 + uint32(i%4),
		})
	}
	for i := range n {
		own := owners[b.random.IntN(len(owners))]
		r := record.Flow{Protocol: "tcp", Family: "ipv4", Source: record.FromEBPF}
		switch {
		case i%10 < 6:
			r.Direction = record.Incoming
			r.Client.Addr = b.address()
			r.Server = record.Endpoint{Addr: here, Port: 8080, Owner: own}
		case i%10 < 9:
			remote := b.random.IntN(300)
			r.Direction = record.Outgoing
			r.Client = record.Endpoint{Addr: here, Owner: own}
			r.Server = record.Endpoint{Addr: netip.AddrFrom4([4]byte{198, 51, byte(i), byte(remote)}), Port: 443}
			r.ServerDomain = fmt.Sprintf("api-%d.example.invalid", remote)
		default:
			r.Direction, r.Protocol = record.Local, "udp"
			r.Client = record.Endpoint{Addr: here, Owner: own}
			r.Server = record.Endpoint{Addr: here, Port: uint16(9000 + i%500), Owner: owners[i%len(owners)]}
		}
		b.flows = append(b.flows, r)
	}
	for i := range n / 5 {
		b.dns = append(b.dns, record.DNS{
			Client: record.Endpoint{Addr: here, Owner: owners[i%len(owners)]},
			Server: record.Endpoint{Addr: netip.MustParseAddr("192.0.2.53"), Port: 53},
			Name:   fmt.Sprintf("host-%d.example.invalid", b.random.IntN(400)), Type: []string{"A", "AAAA"}[i%2],
		})
	}
	return b
}

func (b *busy) address() netip.Addr {
	return netip.AddrFrom4([4]byte{100, 64 + byte(b.random.IntN(64)), byte(b.random.IntN(256)), byte(b.random.IntN(256))})
}

// some is a number of which most are near most's hundredth part.
func (b *busy) some(most float64) uint64 { return uint64(math.Pow(most, b.random.Float64())) }

// next gives all flows new counters.
func (b *busy) next() ([]record.Flow, []record.DNS) {
	for i := range b.flows {
		r := &b.flows[i]
		r.Counters = record.Counters{
			BytesSentByClient: b.some(1e6), BytesSentByServer: b.some(1e7),
			PacketsSentByClient: b.some(1e3), PacketsSentByServer: b.some(1e4),
		}
		if r.Protocol == "udp" {
			continue
		}
		r.Established = b.some(30)
		r.Closed, r.RTTSamples = r.Established, r.Established
		r.RTTSum = r.RTTSamples * b.some(1e5)
		if b.random.IntN(20) == 0 {
			r.Retransmits, r.Resets = b.some(20), b.some(3)
		}
		r.RTOCount, r.Known = uint64(b.random.IntN(100)/99), record.KnowsRTOCount|record.KnowsRecoveryCount
	}
	for i := range b.dns {
		r := &b.dns[i]
		r.DNSCounts = record.DNSCounts{Requests: b.some(5)}
		r.DNSCounts.Successes = r.DNSCounts.Requests
		for range r.DNSCounts.Successes {
			r.DNSCounts.SuccessLatency.Add(time.Duration(b.some(1e5)) * time.Microsecond)
		}
	}
	return b.flows, b.dns
}
