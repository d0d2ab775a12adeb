package daemon

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"socktally/api"
	"socktally/config"
	"socktally/forward"
	"socktally/internal/clock"
	"socktally/metric"
	"socktally/record"
	"socktally/store"
)

const (
	storeFile = "socktally.db"
	// storeMaxBytes is the largest size of the store's file.
	storeMaxBytes = 1 << 30
)

// recordStore is what a Daemon needs of a store.Store.
type recordStore interface {
	api.Source
	Add(at time.Time, connections []record.Flow, dns []record.DNS) error
	Ready(context.Context) error
	Stats() store.Stats
	Close() error
}

// openStore opens the store in the state folder. If that cannot be written, somebody probably only tries the daemon: then
// the store is in memory, and a warning says so.
func openStore(cfg config.Config, log *slog.Logger, c clock.Clock) (recordStore, error) {
	o := store.Options{
		Path: filepath.Join(cfg.StateDir, storeFile), Retention: cfg.API.Retention, MaxBytes: storeMaxBytes, Log: log, Clock: c,
	}
	s, err := store.Open(o)
	if errors.Is(err, store.ErrNotWritable) {
		log.Warn("the API keeps its records in memory only", "because", oneLine(err))
		o.Path = ""
		s, err = store.Open(o)
	}
	if err != nil {
		return nil, err // s is a nil *store.Store, which would be a recordStore that is not nil
	}
	return s, nil
}

// add adds the records of a tally to the store. The store itself logs errors of its file.
func (a *readAPI) add(at time.Time, records []record.Flow, queries []record.DNS) {
	n := len(records) + len(queries)
	if n == 0 {
		return
	}
	err := a.store.Add(at, records, queries)
	a.addError.logChange(a.log, err, "the store takes no records", "the store takes records again")
	if err == nil {
		a.added += n
	}
}

// samples returns gauges of the store, and counts records and losses since the last call.
func (a *readAPI) samples(to *forward.Forwarder, now time.Time) []metric.Sample {
	if a == nil {
		return nil
	}
	if a.added > 0 {
		to.Count(metric.StoreRecords, a.added)
		a.added = 0
	}
	stats := a.store.Stats()
	for _, c := range []struct {
		reason        string
		before, after uint64
	}{
		{"dropped", a.stats.DroppedRecords, stats.DroppedRecords},
		{"folded", a.stats.FoldedRecords, stats.FoldedRecords},
	} {
		if n := c.after - c.before; n > 0 {
			to.Count(metric.StoreLosses, int(n), "reason:"+c.reason)
		}
	}
	a.stats = stats
	return []metric.Sample{
		{Name: metric.StoreBytes, Kind: metric.Gauge, Time: now, Value: float64(stats.FileBytes)},
		{Name: metric.StoreWaiting, Kind: metric.Gauge, Time: now, Value: float64(stats.WaitingBuckets)},
	}
}
