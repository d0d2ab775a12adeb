// Package metric has the type of a sample, the catalogue of all metrics that socktally emits, and the rules for their tags.
// It imports only the standard library.
package metric

import "time"

// Kind says how a receiver aggregates the values of a metric.
type Kind uint8

const (
	// Gauge is a state at one moment. A newer value replaces an older one.
	Gauge Kind = iota
	// Count is the number of events since the previous sample. Values are summed.
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

// Sample is one value of one metric at one moment. Samples are shared between goroutines, so they must not be changed.
type Sample struct {
	// Name is a name in the Catalogue.
	Name string
	Kind Kind
	// Value has the unit that the Catalogue has for Name.
	Value float64
	// Time is when the value was read. It stays the same, however late the sample is delivered.
	Time time.Time
	// Interval is the time that a Count covers; it ends at Time. It is 0 for a Gauge.
	Interval time.Duration
	// Tags are the tags of this sample, "key:value". A sink adds those of the process: see AllTags.
	Tags []string
}
