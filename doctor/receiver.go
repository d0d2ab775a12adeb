package doctor

import (
	"context"

	"socktally/forward/sinks"
)

// receivers checks the receivers without sending a sample.
func (e *examination) receivers(ctx context.Context) {
	probing := sinks.Probing{ProcessDir: e.processPath(""), Other: e.Process != "self", ShowKey: e.Probe}
	for _, name := range e.Config.Forward {
		sink, err := sinks.Lookup(name)
		if err != nil {
			e.add("receiver", Bad, err.Error(), "correct SOCKTALLY_FORWARD")
			continue
		}
		e.findings = append(e.findings, sink.Probe(ctx, e.Config, probing)...)
	}
}
