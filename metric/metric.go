// Package metric holds what all other packages speak of: a sample, and the catalogue of every
// metric that socktally emits. It imports the standard library only.
package metric

import "time"

// Kind says how a receiver adds up the values of a metric.
type Kind uint8

const (
	// Gauge is a state at one moment; a newer value replaces an older one.
	Gauge Kind = iota
	// Count is a number of events since the sample before; values add up.
	Count
	// Cumulative is a number of events since something began to count. No receiver is sent one, and no metric of the
	// catalogue is one: the difference of two is a Count.
	Cumulative
)

// String returns the kind as Datadog writes it: "gauge" or "count". It has no word for Cumulative.
func (k Kind) String() string {
	switch k {
	case Count:
		return "count"
	case Cumulative:
		return "cumulative"
	}
	return "gauge"
}

// Sample is one value of one metric at one moment. Samples are shared between goroutines and are
// not changed once made.
type Sample struct {
	// Name is a name in the Catalogue.
	Name string
	Kind Kind
	// Value is in the unit that the Catalogue gives for Name.
	Value float64
	// Time is when the value was read. It never changes, however late the sample is delivered.
	Time time.Time
	// Interval is, for a Count, the time that it covers, ending at Time. It is 0 for a Gauge.
	Interval time.Duration
	// Tags are "key:value" pairs of this sample alone; a sink adds those of the process, see AllTags.
	Tags []string
}
