package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"socktally/flowmetric"
	"socktally/flows"
	"socktally/metric"
)

// flows attaches the tracer and reports how each part of the flows is counted.
func (e *examination) flows(ctx context.Context) {
	counter, err := flows.Open(e.Flows)
	if err != nil {
		e.add("flows", Less, oneLine(err), "see the findings above, or set SOCKTALLY_FLOWS=off")
		return
	}
	defer counter.Close()
	for _, c := range counter.Coverage() {
		if c.Lost == "" {
			e.addOK("flows", c.String())
		} else {
			e.add("flows", Less, c.String(), c.Remedy)
		}
	}
	if e.Probe {
		e.tally(ctx, counter)
	}
}

// tally counts flows for an interval, and reports how many combinations of tags they have. A context is a combination of
// a metric name and tags, as in Datadog's documentation.
func (e *examination) tally(ctx context.Context, counter *flows.Counter) {
	began := time.Now()
	select {
	case <-ctx.Done():
		return
	case <-time.After(e.Interval):
	}
	records, err := counter.Tally(ctx)
	if err != nil {
		e.add("contexts", Less, oneLine(err), "try again")
		return
	}
	splitter, err := flowmetric.New(flowmetric.Options{Tags: e.Config.Flows.Tags, MaxCombinations: e.Config.Flows.MaxCombinations})
	if err != nil {
		e.add("contexts", Less, err.Error(), "correct SOCKTALLY_FLOW_TAGS")
		return
	}
	now := time.Now()
	contexts, combinations := map[string]bool{}, 0.0
	for _, s := range splitter.Samples(records, now, now.Sub(began)) {
		if s.Name == metric.FlowCombinations {
			combinations = s.Value
		}
		contexts[s.Name+" "+strings.Join(s.Tags, ",")] = true
	}
	text := fmt.Sprintf("%d flows in %v make %.0f combinations of tags and %d contexts (a custom metric each); the budget is %d combinations",
		len(records), now.Sub(began).Round(time.Second), combinations, len(contexts), e.Config.Flows.MaxCombinations)
	if int(combinations) > e.Config.Flows.MaxCombinations {
		e.add("contexts", Less, text, "split by less in SOCKTALLY_FLOW_TAGS, or raise SOCKTALLY_FLOW_MAX_CONTEXTS")
	} else {
		e.addOK("contexts", text)
	}
}
