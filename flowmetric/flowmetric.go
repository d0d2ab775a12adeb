// Package flowmetric turns the flow records of an interval into samples: it splits their counts by
// tags, within a budget of combinations, so that the sums over all tags are those of the records.
//
// Counts are added up as uint64 and become float64 in the sample, which is exact up to 2^53: 9 PB for
// one combination and interval.
package flowmetric

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"socktally/flows"
	"socktally/metric"
)

// Network is what is known of the networks that a remote end is in.
type Network interface {
	// Lookup returns the name of the network that addr is in, "" for none, and its tags, which are as
	// metric.AppendTag leaves them. It may be called by several goroutines.
	Lookup(addr netip.Addr) (name string, tags []string)
}

// Names is what is known of the names of remote addresses.
type Names interface {
	// Name returns the name that addr was last looked up by, "" for none. It may be called by several
	// goroutines.
	Name(addr netip.Addr) string
}

// Options are the settings of a Splitter.
type Options struct {
	// Tags are the names of the tags to split by, each known to metric.KnownFlowTag.
	Tags []string
	// MaxContexts is how many combinations of tags an interval has at most, 1 or more. The last is
	// that of all others.
	MaxContexts int
	// Names may be nil.
	Names Names
}

// Splitter splits the flows of one interval after the other. SetNetworks may be called by any
// goroutine, all else by one at a time.
type Splitter struct {
	tags     []tag
	budget   int
	names    Names
	networks atomic.Pointer[Network]
	places   places

	// other is the key of the combination that stands for all without a place.
	other string
	// Of one interval. A combination's key is its tags with commas between, which no tag holds.
	index        map[string]int
	combinations []combination
	begun        bool
	key          []byte
	current      view
}

// New returns a Splitter that has seen nothing.
func New(o Options) (*Splitter, error) {
	s := &Splitter{budget: o.MaxContexts, names: o.Names, places: places{held: map[string]uint64{}}}
	if o.MaxContexts < 1 {
		return nil, fmt.Errorf("flow contexts %d: want 1 or more", o.MaxContexts)
	}
	var others []string
	for _, name := range o.Tags {
		t, err := newTag(name)
		if err != nil {
			return nil, err
		}
		s.tags = append(s.tags, t)
		if t.appendAll == nil {
			others = append(others, t.key+":other")
		}
	}
	s.other = strings.Join(others, ",")
	return s, nil
}

// SetNetworks sets the table of networks, which holds for every flow that is split after.
func (s *Splitter) SetNetworks(n Network) { s.networks.Store(&n) }

func (s *Splitter) network(addr netip.Addr) (string, []string) {
	n := s.networks.Load()
	if n == nil || !addr.IsValid() {
		return "", nil
	}
	return (*n).Lookup(addr)
}

// Add takes records of an interval that has not ended. They are among the next Samples.
func (s *Splitter) Add(records []flows.Record) {
	if !s.begun {
		s.begin(len(records))
		s.begun = true
	}
	for i := range records {
		s.add(&records[i])
	}
	s.current = view{} // holds on to no record
}

// Held is how many combinations the interval has so far.
func (s *Splitter) Held() int {
	if !s.begun {
		return 0
	}
	return len(s.combinations)
}

// Samples returns the samples of an interval that ended at now: of records, and of those that Add took.
// A count of zero has no sample. The samples of one combination share their tags.
func (s *Splitter) Samples(records []flows.Record, now time.Time, interval time.Duration) []metric.Sample {
	s.Add(records)
	s.begun = false
	placed := s.place()
	return s.samples(placed, now, interval)
}

// otherIndex is where the combination of all others is.
const otherIndex = 0

func (s *Splitter) begin(records int) {
	// A map keeps the room of the largest interval that it has seen.
	if s.index == nil || cap(s.combinations) > 4*records+1024 {
		s.index, s.combinations = map[string]int{}, nil
	}
	clear(s.index)
	s.combinations = append(s.combinations[:0], combination{key: s.other})
	s.index[s.other] = otherIndex
}

// add counts a record under its combination. What the tracer itself could not tell apart, and a flow
// whose own tags all read "other", belong to the others.
func (s *Splitter) add(r *flows.Record) {
	s.current = s.view(r)
	if r.Overflow() {
		s.combinations[otherIndex].add(&s.current)
		return
	}
	s.key = s.appendKey(s.key[:0], &s.current)
	i, found := s.index[string(s.key)]
	if !found {
		i = len(s.combinations)
		key := string(s.key)
		s.index[key] = i
		s.combinations = append(s.combinations, combination{key: key})
	}
	s.combinations[i].add(&s.current)
}

// place decides which combinations keep their tags and adds the rest to the others. It returns the
// former.
func (s *Splitter) place() []int {
	claims := make([]claim, 0, len(s.combinations)-1)
	for i := range s.combinations[otherIndex+1:] {
		c := &s.combinations[otherIndex+1+i]
		claims = append(claims, claim{key: c.key, bytes: c.bytes(), index: otherIndex + 1 + i})
	}
	placed, rest := s.places.assign(claims, s.budget-1)
	for _, i := range rest {
		s.combinations[otherIndex].merge(&s.combinations[i])
	}
	return placed
}

// samples returns those of the others, if there are any, and of the combinations that are placed,
// and what the splitting itself came to.
func (s *Splitter) samples(placed []int, now time.Time, interval time.Duration) []metric.Sample {
	const perCombination = 8 // as most have it
	all := make([]metric.Sample, 0, perCombination*(len(placed)+1)+2)
	contexts := 0
	for _, i := range append(placed, otherIndex) {
		before := len(all)
		all = s.combinations[i].appendSamples(all, now, interval)
		if len(all) > before {
			contexts++
		}
	}
	gauge := metric.Sample{Kind: metric.Gauge, Time: now}
	for _, g := range []struct {
		name  string
		value int
	}{{metric.FlowContexts, contexts}, {metric.FlowCombinations, len(s.combinations) - 1}} {
		gauge.Name, gauge.Value = g.name, float64(g.value)
		all = append(all, gauge)
	}
	return all
}
