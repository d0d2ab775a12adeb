// Package flowmetric turns the flow and DNS records of an interval into samples: it splits their counts
// by tags, within a budget of combinations, so that the sums over all tags are those of the records.
//
// Counts are added up as uint64 and become float64 in the sample, which is exact up to 2^53: 9 PB for
// one combination and interval.
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

// Network is what is known of the networks that a remote end is in.
type Network interface {
	// Lookup returns the name of the network that addr is in, "" for none, and its tags, which are as
	// metric.AppendTag leaves them. It may be called by several goroutines.
	Lookup(addr netip.Addr) (name string, tags []string)
}

// Options are the settings of a Splitter.
type Options struct {
	// Tags are the names of the tags to split by, each known to metric.KnownFlowTag. Those that say
	// nothing about DNS are left out for its metrics, those that are of DNS alone for flows.
	Tags []string
	// MaxContexts is how many combinations of tags an interval has at most, 1 or more, of flows and of
	// DNS each. The last is that of all others.
	MaxCombinations int
}

// Splitter splits the flows and the DNS queries of one interval after the other. SetNetworks may be
// called by any goroutine, all else by one at a time.
type Splitter struct {
	networks atomic.Pointer[Network]
	flows    split[traffic, *traffic]
	dns      split[queries, *queries]
	current  localRecord
}

// New returns a Splitter that has seen nothing.
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

// SetNetworks sets the table of networks, which holds for everything that is split after.
func (s *Splitter) SetNetworks(n Network) { s.networks.Store(&n) }

func (s *Splitter) network(addr netip.Addr) (string, []string) {
	n := s.networks.Load()
	if n == nil || !addr.IsValid() {
		return "", nil
	}
	return (*n).Lookup(addr)
}

// Add takes records and queries of an interval that has not ended. They are among the next Samples and
// DNSSamples.
func (s *Splitter) Add(records []record.Flow, queries []record.DNS) {
	s.addFlows(records)
	if queries != nil {
		s.addDNS(queries)
	}
}

// Held is how many combinations the interval has so far, of flows and of DNS.
func (s *Splitter) Combinations() int { return s.flows.size() + s.dns.size() }

// addFlows adds up flows. What the tracer itself could not tell apart, and a flow whose own tags all
// read "other", belong to the others.
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
	s.current = localRecord{} // holds on to no record
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

// Samples returns the samples of the flows of one interval that ended at now: of records, and of those
// that Add took. A count of zero has no sample. The samples of one combination share their tags.
func (s *Splitter) Samples(records []record.Flow, now time.Time, interval time.Duration) []metric.Sample {
	s.addFlows(records)
	return s.flows.end(now, interval, metric.FlowCombinationsSent, metric.FlowCombinations)
}

// DNSSamples is what Samples is, of DNS queries. Its combinations have a budget of their own, of the
// same size. It returns none for records that are nil, which say that DNS is not tallied,
// unless Add took some.
func (s *Splitter) DNSSamples(records []record.DNS, now time.Time, interval time.Duration) []metric.Sample {
	if records == nil && !s.dns.begun {
		return nil
	}
	s.addDNS(records)
	return s.dns.end(now, interval, metric.DNSCombinationsSent, metric.DNSCombinations)
}
