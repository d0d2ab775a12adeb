// Package daemon connects the parts: it reads on a schedule, or once, and forwards the samples. It is the only package that
// imports all others.
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

// stopTimeout is how long the end of Run may take. The forwarder needs less, unless a reading or a write to the standard
// output hangs: these cannot be interrupted.
const stopTimeout = 4500 * time.Millisecond

// onceTimeout is how long Once tries to deliver its reading and what was kept on disk.
const onceTimeout = 10 * time.Second

// Options are what a Daemon needs in addition to its configuration.
type Options struct {
	// ProcRoot is where the proc file system is mounted; "/proc" if empty.
	ProcRoot string
	// Stdout is where the sink stdout writes.
	Stdout io.Writer
	// Version names this build.
	Version string
	// Clock is the clock of readings and tallies, the machine's if nil. The schedules are kept by a library, which
	// always uses the clock of the machine.
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
	flows     *flowTally              // nil if flows are off
	api       atomic.Pointer[readAPI] // nil if there is none, and before Run
	openStore func(config.Config, *slog.Logger, clock.Clock) (recordStore, error)
	manager   manager

	mu        sync.Mutex
	readError lastError
	counts    counts
}

// New makes a Daemon and opens its sinks. It starts no reading.
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

// Run takes the first reading at once and then one at each tick of the schedule, until ctx ends. It tallies flows on
// another schedule if the host allows it. If the configuration has an address for the API, it serves the API; it returns an
// error at once if the address cannot be bound or the store cannot be opened. After the end of ctx it takes at most 5 s: it
// returns when every reading is delivered, kept on disk or given up.
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
	releaseStartupPages()
	d.manager.watch(c)
	d.manager.notify(sd.SdNotifyReady)
	c.Start() // before flows are opened, because that takes a moment and no reading should be late
	if d.flows != nil && d.flows.open() {
		c.Schedule(d.cfg.Flows.Schedule, cron.FuncJob(func() { d.flows.tick(d.forwarder) }))
	}

	<-ctx.Done()
	d.manager.notify(sd.SdNotifyStopping)
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
			return err // the server of the API has failed
		}
		return nil
	case <-d.clock.After(stopTimeout):
		return fmt.Errorf("stop: a reading or a sink still hangs after %v, and what was on its way to it is lost", stopTimeout)
	}
}

// tick takes a reading, unless the previous one still runs.
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
			// The lost samples are from earlier readings, so this is logged but is not an error of this one.
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

// read takes a reading and queues it for delivery by the deadline. It counts and returns the error of what could not be
// read, and logs it when it changes.
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
	d.readError.logChange(d.log, err, "reading is not whole", "readings are whole again")
	d.forwarder.Forward(samples, now, deadline)
	return err
}

// lastError is the text of the error of the last try, "" if it succeeded.
type lastError string

// logChange logs one line when an error begins, changes or ends, and nothing as long as it stays the same.
func (t *lastError) logChange(log *slog.Logger, err error, failing, well string) {
	now := lastError("")
	if err != nil {
		now = lastError(err.Error())
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
