package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"socktally/config"
	"socktally/flowmetric"
	"socktally/flows"
	"socktally/flows/coverage"
	"socktally/flows/networks"
	"socktally/forward"
	"socktally/internal/clock"
	"socktally/metric"
	"socktally/record"
)

// lastTally is how long the tally at the end of a run may take.
const lastTally = time.Second

// flowCounter is what a Daemon needs of a flows.Counter.
type flowCounter interface {
	Source() record.Source
	Coverage() []coverage.Entry
	Tally(context.Context) ([]record.Flow, error)
	TallyDNS(context.Context) ([]record.DNS, error)
	Losses() (coverage.Losses, error)
	Close() error
}

func openFlows(o flows.Options) (flowCounter, error) {
	c, err := flows.Open(o)
	if err != nil {
		return nil, err // c is a nil *flows.Counter, which would be a flowCounter that is not nil
	}
	return c, nil
}

// flowTally tallies flows on a schedule and forwards their metrics.
type flowTally struct {
	cfg      config.Config
	log      *slog.Logger
	clock    clock.Clock
	options  flows.Options
	openFunc func(flows.Options) (flowCounter, error)
	splitter *flowmetric.Splitter
	networks atomic.Pointer[networks.Table] // the same as in the splitter
	api      *readAPI                       // nil if there is none

	ticking sync.Mutex // held during a tick, so that there is only one at a time

	mu      sync.Mutex  // held during a tally
	counter flowCounter // nil before open and after close
	// Monotonic times: since is the end of the last tally whose metrics were forwarded, dnsSince is the same for
	// DNS, and tallied is the end of the last tally that succeeded.
	since, dnsSince, tallied time.Duration

	losses     coverage.Losses
	tallyError lastError
	dnsError   lastError
	hasLosses  bool
}

// FlowOptions returns the options of a flows.Counter. cfg.Flows must be on.
func FlowOptions(cfg config.Config) flows.Options {
	o := flows.Options{
		Mode: flows.Mode(cfg.Flows.Mode), Scope: flows.Host, MaxFlows: cfg.Flows.Max,
		NoUDP: !cfg.Flows.UDP, DNSPorts: cfg.Flows.DNSPorts,
	}
	if cfg.Scope == metric.NetNS {
		o.Scope = flows.NetNS
	}
	return o
}

func newFlowTally(cfg config.Config, log *slog.Logger, o Options) (*flowTally, error) {
	splitter, err := flowmetric.New(flowmetric.Options{Tags: cfg.Flows.Tags, MaxCombinations: cfg.Flows.MaxCombinations})
	if err != nil {
		return nil, err
	}
	f := &flowTally{cfg: cfg, log: log, clock: o.Clock, openFunc: o.openFlows, splitter: splitter}
	f.options = FlowOptions(cfg)
	f.options.Proc = o.ProcRoot
	if f.openFunc == nil {
		f.openFunc = openFlows
	}
	if cfg.Flows.NetworksFile != "" {
		table, err := networks.Load(cfg.Flows.NetworksFile)
		if err != nil {
			return nil, fmt.Errorf("read networks %s: %w", cfg.Flows.NetworksFile, err)
		}
		f.setNetworks(table)
	}
	return f, nil
}

// open starts to count, and logs how. If that fails, it logs why and returns false: the daemon runs without flows.
func (f *flowTally) open() bool {
	counter, err := f.openFunc(f.options)
	if err != nil {
		f.log.Warn("flows are not counted", "because", oneLine(err))
		return false
	}
	f.mu.Lock()
	f.counter, f.since = counter, f.clock.Monotonic()
	f.dnsSince = f.since
	f.tallied = f.since - refreshAfter // there was no tally yet
	f.mu.Unlock()
	f.log.Info("flows are counted", "source", string(counter.Source()), "schedule", f.cfg.Flows.Schedule.Spec)
	LogCoverage(f.log, counter.Coverage())
	return true
}

// LogCoverage logs each part of the flows that is not counted in the best way. It is a warning if something is lost.
func LogCoverage(log *slog.Logger, parts []coverage.Entry) {
	for _, c := range parts {
		switch {
		case c.Lost != "":
			log.Warn("not all of flows is counted", slog.Any("", c))
		case len(c.Errors) > 0:
			log.Info("counting flows costs more", slog.Any("", c))
		}
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// tick tallies the flows since the previous tick, unless that one still runs.
func (f *flowTally) tick(to *forward.Forwarder) {
	if !f.ticking.TryLock() {
		to.Count(metric.FlowTalliesSkipped, 1)
		return
	}
	defer f.ticking.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forward(context.Background(), to, f.cfg.Flows.Schedule.Next(f.clock.Now()))
}

// close tallies the flows since the last tick and stops counting.
func (f *flowTally) close(to *forward.Forwarder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counter == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastTally)
	defer cancel()
	f.forward(ctx, to, f.clock.Now().Add(lastTally))
	if err := f.counter.Close(); err != nil {
		f.log.Warn("closing the flow counter failed", "error", err)
	}
	f.counter = nil
}

// forward queues the metrics of one tally for delivery by the deadline. If the tally fails, the next one includes its
// counts and its time.
func (f *flowTally) forward(ctx context.Context, to *forward.Forwarder, deadline time.Time) {
	begin := f.clock.Monotonic()
	to.Count(metric.FlowTallies, 1)
	records, queries, err := f.take(ctx)
	now, end := f.clock.Now(), f.clock.Monotonic()
	if err != nil {
		to.Count(metric.FlowTalliesFailed, 1)
		return
	}
	samples := f.splitter.Samples(records, now, end-f.since)
	f.since = end
	if ofDNS := f.splitter.DNSSamples(queries, now, end-f.dnsSince); ofDNS != nil {
		samples = append(samples, ofDNS...)
		f.dnsSince = end
	}
	f.countLosses(to)
	samples = append(samples, metric.Sample{
		Name: metric.FlowTallyDuration, Kind: metric.Gauge, Time: now, Value: (f.clock.Monotonic() - begin).Seconds(),
	})
	samples = append(samples, f.api.samples(to, now)...)
	to.Forward(samples, now, deadline)
}

// take tallies flows and DNS, and adds them to the store if there is one. The queries are nil if DNS is not tallied or
// that failed.
func (f *flowTally) take(ctx context.Context) ([]record.Flow, []record.DNS, error) {
	records, err := f.counter.Tally(ctx)
	f.tallyError.logChange(f.log, err, "flows could not be tallied", "flows are tallied again")
	if err != nil {
		return nil, nil, err
	}
	queries, err := f.counter.TallyDNS(ctx)
	f.dnsError.logChange(f.log, err, "DNS could not be tallied", "DNS is tallied again")
	for i := range records {
		records[i].CleanNames()
	}
	for i := range queries {
		queries[i].CleanNames()
	}
	f.tallied = f.clock.Monotonic()
	if f.api != nil {
		kept, keptQueries := f.tagRemotes(records, queries)
		f.api.add(f.clock.Now(), kept, keptQueries)
	}
	return records, queries, nil
}

const (
	// refreshAfter is the age at which a tally is too old for a query.
	refreshAfter = time.Second
	// maxWaiting is how many combinations of tags may wait for the next tick, about 200 bytes each.
	maxWaiting = 1 << 16
)

// refresh tallies the flows up to now, so that a query has them. Their metrics wait for the next tick. If too many wait
// already, there is no tally, and the query has the flows up to the last tally only.
func (f *flowTally) refresh(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counter == nil || f.clock.Monotonic()-f.tallied < refreshAfter || f.splitter.Combinations() > maxWaiting {
		return
	}
	if records, queries, err := f.take(ctx); err == nil {
		f.splitter.Add(records, queries)
	}
}

func (f *flowTally) setNetworks(t *networks.Table) {
	f.networks.Store(t)
	f.splitter.SetNetworks(t)
}

// countLosses makes metrics of the losses since the previous tally. It logs one line when losses begin and one when they
// end.
func (f *flowTally) countLosses(to *forward.Forwarder) {
	losses, err := f.counter.Losses()
	if err != nil {
		return // the next tally will fail in the same way and is logged
	}
	any := false
	losses.Since(f.losses, func(reason string, n uint64) {
		any = true
		to.Count(metric.FlowLosses, int(n), "reason:"+reason)
	})
	f.losses = losses
	switch {
	case any && !f.hasLosses:
		f.log.Warn("not every flow is counted as its own", "losses", fmt.Sprintf("%+v", losses))
	case !any && f.hasLosses:
		f.log.Info("every flow is counted as its own again")
	}
	f.hasLosses = any
}

// Reload reads the table of networks and the certificate of the API again. If one of them has a fault, the previous one
// stays in use.
func (d *Daemon) Reload() {
	hasNetworks := d.flows != nil && d.cfg.Flows.NetworksFile != ""
	if !hasNetworks && d.cfg.API.TLSCert == "" {
		d.log.Info("there is nothing to read again")
		return
	}
	d.api.Load().reload()
	if !hasNetworks {
		return
	}
	table, err := networks.Load(d.cfg.Flows.NetworksFile)
	if err != nil {
		d.log.Warn("networks stay as they were", "file", d.cfg.Flows.NetworksFile, "error", oneLine(err))
		return
	}
	d.flows.setNetworks(table)
	d.log.Info("networks are read again", "file", d.cfg.Flows.NetworksFile, "networks", table.Len())
}
