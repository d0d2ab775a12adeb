package flowmetric

import (
	"strings"
	"time"

	"socktally/metric"
)

// amount is the sum of the records of one combination.
type amount[A any] interface {
	*A
	merge(*A)
	// weight decides which combinations get a slot.
	weight() uint64
	// appendSamples appends a sample for each count that is not zero, and for each gauge that is known.
	appendSamples(all []metric.Sample, to template) []metric.Sample
}

// split sums the amounts of an interval by combinations of tags. budget is the largest number of combinations.
type split[A any, P amount[A]] struct {
	tags   []tag
	budget int
	slots  slots

	// other is the key of the combination of all others, those without a slot.
	other string
	// The following fields are for one interval. The key of a combination is its tags, joined by commas. No tag has a
	// comma.
	index        map[string]int
	combinations []combination[A]
	begun        bool
	key          []byte
}

type combination[A any] struct {
	key    string
	amount A
}

func newSplit[A any, P amount[A]](tags []tag, budget int) split[A, P] {
	var others []string
	for _, t := range tags {
		if t.appendAll == nil {
			others = append(others, t.key+":other")
		}
	}
	return split[A, P]{tags: tags, budget: budget, slots: slots{weights: map[string]uint64{}}, other: strings.Join(others, ",")}
}

// otherIndex is the index of the combination of all others.
const otherIndex = 0

// begin begins an interval, unless it has begun already.
func (s *split[A, P]) begin(records int) {
	if s.begun {
		return
	}
	s.begun = true
	// A map never gets smaller, so it is replaced if it is much larger than needed.
	if s.index == nil || cap(s.combinations) > 4*records+1024 {
		s.index, s.combinations = map[string]int{}, nil
	}
	clear(s.index)
	clear(s.combinations[:cap(s.combinations)])
	s.combinations = append(s.combinations[:0], combination[A]{key: s.other})
	s.index[s.other] = otherIndex
}

// size is how many combinations the interval has so far.
func (s *split[A, P]) size() int {
	if !s.begun {
		return 0
	}
	return len(s.combinations)
}

// of is the amount of the combination of a record.
func (s *split[A, P]) of(v *localRecord) P {
	s.key = appendKey(s.key[:0], s.tags, v)
	i, found := s.index[string(s.key)]
	if !found {
		i = len(s.combinations)
		key := string(s.key)
		s.index[key] = i
		s.combinations = append(s.combinations, combination[A]{key: key})
	}
	return &s.combinations[i].amount
}

func (s *split[A, P]) others() P { return &s.combinations[otherIndex].amount }

// assignSlots decides which combinations keep their tags, and returns their indices. It adds the rest to the combination
// of all others.
func (s *split[A, P]) assignSlots() []int {
	candidates := make([]candidate, 0, len(s.combinations)-1)
	for i := otherIndex + 1; i < len(s.combinations); i++ {
		c := &s.combinations[i]
		candidates = append(candidates, candidate{key: c.key, amount: P(&c.amount).weight(), index: i})
	}
	placed, rest := s.slots.assign(candidates, s.budget-1)
	for _, i := range rest {
		s.others().merge(&s.combinations[i].amount)
	}
	return placed
}

// end ends an interval. It returns the samples of the combinations with a slot and of the combination of all others. It
// adds two gauges with the given names: how many combinations were sent, and how many there were.
func (s *split[A, P]) end(now time.Time, interval time.Duration, sentName, totalName string) []metric.Sample {
	const perCombination = 8 // samples, in most cases
	s.begun = false
	placed := s.assignSlots()
	all := make([]metric.Sample, 0, perCombination*(len(placed)+1)+2)
	sent := 0
	for _, i := range append(placed, otherIndex) {
		c := &s.combinations[i]
		to := template{now: now, interval: interval}
		if c.key != "" {
			to.tags = strings.Split(c.key, ",")
		}
		before := len(all)
		all = P(&c.amount).appendSamples(all, to)
		if len(all) > before {
			sent++
		}
	}
	untagged := template{now: now}
	return append(all, untagged.gauge(sentName, float64(sent)), untagged.gauge(totalName, float64(len(s.combinations)-1)))
}

// template has the fields that all samples of one combination share.
type template struct {
	now      time.Time
	interval time.Duration
	tags     []string
}

func (t template) count(name string, n uint64) metric.Sample {
	return metric.Sample{Name: name, Kind: metric.Count, Value: float64(n), Time: t.now, Interval: t.interval, Tags: t.tags}
}

func (t template) gauge(name string, value float64) metric.Sample {
	return metric.Sample{Name: name, Kind: metric.Gauge, Value: value, Time: t.now, Tags: t.tags}
}
