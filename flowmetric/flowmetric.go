// Package flowmetric makes samples from the flow and DNS records of an interval. It sums the counts for each combination
// of tags. The number of combinations is limited; those beyond the limit are summed in one. So the sum over all
// combinations is always the sum over all records.
//
// Counts are summed as uint64 and become float64 in a sample. That is exact up to 2^53, which is 9 PB for one combination
// and interval.
package flowmetric

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"socktally/metric"
	"socktally/record"
)

// Network is a table of networks.
type Network interface {
	// Lookup returns the name of the network of addr, "" for none, and its tags, in the form of metric.AppendTag. It
	// may be called concurrently.
	Lookup(addr netip.Addr) (name string, tags []string)
}

// Options are the settings of a Splitter.
type Options struct {
	// Tags are the names of the tags to split by, each known to metric.KnownFlowTag. The metrics of flows do not have
	// the tags that only DNS has, and the metrics of DNS do not have those that only flows have.
	Tags []string
	// MaxCombinations is how many combinations of tags an interval has at most, for flows and for DNS each. It is 1 or
	// more. One of them is the combination of all others.
	MaxCombinations int
}

// Splitter splits the flows and DNS queries of each interval by tags. SetNetworks may be called concurrently, all other
// methods may not.
type Splitter struct {
	networks atomic.Pointer[Network]
	flows    split[traffic, *traffic]
	dns      split[queries, *queries]
	current  localRecord
}

// New returns an empty Splitter.
func New(o Options) (*Splitter, error) {
	if o.MaxCombinations < 1 {
		return nil, fmt.Errorf("flow contexts %d: want 1 or more", o.MaxCombinations)
	}
	var ofFlows, ofDNS []tag
	for _, name := range o.Tags {
		t, err := newTag(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(onlyDNS, name) {
			ofFlows = append(ofFlows, t)
		}
		if !slices.Contains(onlyFlows, name) {
			ofDNS = append(ofDNS, t)
		}
	}
	return &Splitter{
		flows: newSplit[traffic](ofFlows, o.MaxCombinations),
		dns:   newSplit[queries](ofDNS, o.MaxCombinations),
	}, nil
}

// SetNetworks sets the table of networks for all later records.
func (s *Splitter) SetNetworks(n Network) { s.networks.Store(&n) }

func (s *Splitter) network(addr netip.Addr) (string, []string) {
	n := s.networks.Load()
	if n == nil || !addr.IsValid() {
		return "", nil
	}
	return (*n).Lookup(addr)
}

// Add adds records and queries before the end of an interval. The next Samples and DNSSamples include them.
func (s *Splitter) Add(records []record.Flow, queries []record.DNS) {
	s.addFlows(records)
	if queries != nil {
		s.addDNS(queries)
	}
}

// Combinations is how many combinations the interval has so far, of flows and DNS together.
func (s *Splitter) Combinations() int { return s.flows.size() + s.dns.size() }

// addFlows adds flows to their combinations. Overflow records, and flows whose tags are all "other", belong to the
// combination of all others.
func (s *Splitter) addFlows(records []record.Flow) {
	s.flows.begin(len(records))
	for i := range records {
		r := &records[i]
		if r.Overflow() {
			s.flows.others().add(r)
			continue
		}
		s.flows.of(s.localFlow(r)).add(r)
	}
	s.current = localRecord{} // keeps no reference to a record
}

func (s *Splitter) addDNS(records []record.DNS) {
	s.dns.begin(len(records))
	for i := range records {
		r := &records[i]
		if !r.Server.Addr.IsValid() {
			s.dns.others().Add(&r.DNSCounts)
			continue
		}
		s.dns.of(s.localDNS(r)).Add(&r.DNSCounts)
	}
	s.current = localRecord{}
}

// Samples ends an interval at the time now. It returns the samples of records and of those that Add has added. A
// count of zero has no sample. The samples of one combination share the slice of tags.
func (s *Splitter) Samples(records []record.Flow, now time.Time, interval time.Duration) []metric.Sample {
	s.addFlows(records)
	return s.flows.end(now, interval, metric.FlowCombinationsSent, metric.FlowCombinations)
}

// DNSSamples is the same as Samples for DNS queries. Their combinations have a limit of their own, of the same size. If
// records are nil, DNS is not tallied: then it returns nothing, unless Add has added queries.
func (s *Splitter) DNSSamples(records []record.DNS, now time.Time, interval time.Duration) []metric.Sample {
	if records == nil && !s.dns.begun {
		return nil
	}
	s.addDNS(records)
	return s.dns.end(now, interval, metric.DNSCombinationsSent, metric.DNSCombinations)
}
