// Package daemon wires the parts together: it reads on a schedule, or once, and forwards what it
// read. It is the only package that knows all others.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/robfig/cron/v3"

	"socktally/collector"
	"socktally/config"
	"socktally/flows"
	"socktally/forward"
	"socktally/forward/sinks"
	"socktally/forward/spool"
	"socktally/internal/clock"
	"socktally/metric"
)

// stopTimeout bounds the end of Run. The forwarder ends earlier, unless a reading or the standard
// output hangs, which nothing can interrupt.
const stopTimeout = 4500 * time.Millisecond

// onceTimeout bounds the delivery of a single reading and of what waited on disk.
const onceTimeout = 10 * time.Second

// Options are what a Daemon needs beside its configuration.
type Options struct {
	// ProcRoot is where the proc file system is mounted; "/proc" if empty.
	ProcRoot string
	// Stdout is where the sink stdout writes.
	Stdout io.Writer
	// Version names this build.
	Version string
	// Clock tells the time of readings and tallies, the machine's if nil. The schedules, which a library keeps,
	// go by the machine's.
	Clock clock.Clock

	openFlows func(flows.Options) (flowCounter, error)                            // flows.Open if nil
	openStore func(config.Config, *slog.Logger, clock.Clock) (recordStore, error) // openStore if nil
}

// Daemon reads and forwards. It is made by New and used by one call of Run or Once.
type Daemon struct {
	cfg       config.Config
	log       *slog.Logger
	clock     clock.Clock
	procRoot  string
	collector *collector.Collector
	forwarder *forward.Forwarder
	flows     *flowTally              // nil where flows are off
	api       atomic.Pointer[readAPI] // nil where there is none, and before Run
	openStore func(config.Config, *slog.Logger, clock.Clock) (recordStore, error)
	manager   manager

	mu      sync.Mutex
	reading trouble
	counts  counts
}

// New opens what cfg asks for. It starts no reading.
func New(cfg config.Config, log *slog.Logger, o Options) (*Daemon, error) {
	if o.ProcRoot == "" {
		o.ProcRoot = "/proc"
	}
	o.Clock = clock.OrSystem(o.Clock)
	c, err := collector.New(o.ProcRoot, cfg.Scope)
	if err != nil {
		return nil, err
	}
	receivers, err := openSinks(cfg, sinks.Program{Stdout: o.Stdout, Version: o.Version, Clock: o.Clock})
	if err != nil {
		return nil, err
	}
	options := forward.Options{Clock: o.Clock, SpoolLimits: spool.Limits{MaxBytes: cfg.Spool.MaxBytes, MaxAge: cfg.Spool.MaxAge}}
	if cfg.Spool.MaxBytes > 0 {
		options.SpoolDir = filepath.Join(cfg.StateDir, "spool")
	}
	d := &Daemon{cfg: cfg, log: log, clock: o.Clock, procRoot: o.ProcRoot, collector: c, openStore: o.openStore, manager: manager{log: log, clock: o.Clock}}
	if d.openStore == nil {
		d.openStore = openStore
	}
	if cfg.Flows.On() {
		if d.flows, err = newFlowTally(cfg, log, o); err != nil {
			return nil, err
		}
	}
	d.forwarder = forward.New(log, options, receivers...)
	return d, nil
}

func openSinks(cfg config.Config, program sinks.Program) ([]forward.Sink, error) {
	var all []forward.Sink
	for _, name := range cfg.Forward {
		sink, err := sinks.Lookup(name)
		if err != nil {
			return nil, err
		}
		opened, err := sink.Open(cfg, program)
		if err != nil {
			return nil, fmt.Errorf("open sink %s: %w", name, err)
		}
		all = append(all, opened)
	}
	return all, nil
}

// Run takes the first reading at once and then one on each tick of the schedule, until ctx ends, and
// tallies flows on a schedule of their own where the host lets it. Where the configuration has an
// address for the API, it serves that: an address or a store that cannot be had ends the run before it
// begins. It returns when every reading is delivered, kept on disk or given up, at most 5 s later.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	served, err := d.startAPI(ctx, cancel)
	if err != nil {
		d.forwarder.Close(0)
		return err
	}
	c := cron.New(cron.WithLogger(cron.DiscardLogger))
	c.Schedule(d.cfg.Schedule, cron.FuncJob(d.tick))
	d.log.Info("started", "schedule", d.cfg.Schedule.Spec, "scope", string(d.cfg.Scope), "forward", d.cfg.Forward)
	d.tick()
	forgetStart()
	d.manager.watch(c)
	d.manager.tell(sd.SdNotifyReady)
	c.Start() // before flows, which take a moment to open and must not cost a reading
	if d.flows != nil && d.flows.open() {
		c.Schedule(d.cfg.Flows.Schedule, cron.FuncJob(func() { d.flows.tick(d.forwarder) }))
	}

	<-ctx.Done()
	d.manager.tell(sd.SdNotifyStopping)
	begin := d.clock.Monotonic()
	stopped := make(chan []forward.Summary, 1)
	go func() {
		<-c.Stop().Done()
		if d.flows != nil {
			d.flows.close(d.forwarder)
		}
		<-served
		d.api.Load().close()
		stopped <- d.forwarder.Close(0)
	}()
	select {
	case all := <-stopped:
		for _, s := range all {
			d.log.Info("stopped", "sink", s.Sink, "sent", s.Sent, "dropped", s.Dropped+s.Expired+s.Evicted,
				"spooled", s.Spooled, "replayed", s.Replayed, "took", (d.clock.Monotonic() - begin).Round(time.Millisecond).String())
		}
		if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
			return err // of the API, which ended by itself
		}
		return nil
	case <-d.clock.After(stopTimeout):
		return fmt.Errorf("stop: a reading or a sink still hangs after %v, and what was on its way to it is lost", stopTimeout)
	}
}

// tick takes the reading of one moment of the schedule, unless the one before still runs.
func (d *Daemon) tick() {
	if !d.mu.TryLock() {
		d.forwarder.Count(metric.ReadingsSkipped, 1)
		return
	}
	defer d.mu.Unlock()
	now := d.clock.Now()
	defer d.manager.begin()()
	d.read(now, d.cfg.Schedule.Next(now))
}

// Once takes one reading and waits until it is delivered or kept on disk. What the kernel counts is told since the
// run of Once before, of which the state folder keeps what it read. The error names each sink for which neither
// succeeded, and what could not be read.
func (d *Daemon) Once() error {
	save, err := d.restoreCounts()
	if err != nil {
		d.log.Warn("there are no counts of the kernel", "error", err)
	}
	now := d.clock.Now()
	errs := []error{d.read(now, now.Add(onceTimeout))}
	delivered := false
	for _, s := range d.forwarder.Close(onceTimeout) {
		delivered = delivered || s.Sent-s.Replayed+s.Spooled > 0
		if s.Expired+s.Evicted > 0 {
			// The loss is of earlier readings, so it is said and does not fail this one.
			d.log.Error("kept samples were given up", "sink", s.Sink, "too_old", s.Expired, "too_many", s.Evicted)
		}
		if s.Dropped > 0 {
			errs = append(errs, fmt.Errorf("deliver to %s (%s): %d samples lost: %w", s.Sink, s.Receiver, s.Dropped, s.LastErr))
		}
	}
	if save != nil {
		if err := save(delivered); err != nil {
			d.log.Warn("the counts of the kernel are not saved", "error", err)
		}
	}
	return errors.Join(errs...)
}

// read takes a reading and queues it for delivery by the deadline. What could not be read is
// returned, counted, and logged when it changes.
func (d *Daemon) read(now, deadline time.Time) error {
	begin := d.clock.Monotonic()
	samples, err := d.collector.Read(now)
	samples = append(d.counts.since(samples, begin), metric.Sample{
		Name: metric.ReadingDuration, Kind: metric.Gauge, Time: now, Value: (d.clock.Monotonic() - begin).Seconds(),
	})
	d.forwarder.Count(metric.Readings, 1)
	if err != nil {
		d.forwarder.Count(metric.ReadingsFailed, 1)
	}
	d.reading.log(d.log, err, "reading is not whole", "readings are whole again")
	d.forwarder.Forward(samples, now, deadline)
	return err
}

// trouble is the error of what was last tried, "" if there was none.
type trouble string

// log logs one line when things begin to fail, fail differently, or are well again.
func (t *trouble) log(log *slog.Logger, err error, failing, well string) {
	now := trouble("")
	if err != nil {
		now = trouble(err.Error())
	}
	switch {
	case now == *t:
	case now == "":
		log.Info(well)
	default:
		log.Warn(failing, "error", err)
	}
	*t = now
}
