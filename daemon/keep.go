package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"socktally/internal/filelock"
)

// keptCounts is the file in which one `once` keeps for the next what the kernel had counted.
type keptCounts struct {
	// Boot and Namespace are where these numbers were counted; others have nothing to do with them.
	Boot      string               `json:"boot_id"`
	Namespace string               `json:"network_namespace"`
	Totals    map[string]keptTotal `json:"totals"` // by the name of the metric
}

type keptTotal struct {
	Value float64   `json:"value"`
	Read  time.Time `json:"read"`
}

// recall gives counts what the run before kept, and returns the function that keeps them for the next, which is to be
// called once, and tells whether a receiver was told. The file is that of the sinks, so that runs which tell
// different receivers do not take each other's counts. An error means that this run has no counts and keeps none.
func (d *Daemon) recall() (keep func(told bool) error, err error) {
	here, err := d.kernel()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(d.cfg.StateDir, "once", strings.Join(d.cfg.Forward, "+")+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	unlock, err := filelock.Try(path + ".lock")
	if err != nil {
		return nil, err // where another run holds it, that one tells what there is to tell
	}
	var kept keptCounts
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		d.log.Warn("the counts of earlier runs are lost", "error", err)
	case kept.Boot == here.Boot && kept.Namespace == here.Namespace:
		now, at := d.clock.Now(), d.clock.Monotonic()
		d.counts.last = map[string]total{}
		for name, t := range kept.Totals {
			d.counts.last[name] = total{t.Value, at - now.Sub(t.Read)}
		}
	}
	return func(told bool) error {
		defer unlock()
		if !told {
			return nil // the next run tells what this one could not
		}
		now, at := d.clock.Now(), d.clock.Monotonic()
		here.Totals = map[string]keptTotal{}
		for name, t := range d.counts.last {
			here.Totals[name] = keptTotal{t.value, now.Add(t.at - at)}
		}
		text, err := json.Marshal(here)
		if err != nil {
			return err
		}
		// Not synced: after a crash of the machine it counts anew.
		if err := os.WriteFile(path+".tmp", text, 0o640); err != nil {
			return err
		}
		return os.Rename(path+".tmp", path)
	}, nil
}

// kernel says since when, and for whom, the kernel counts.
func (d *Daemon) kernel() (keptCounts, error) {
	boot, err := os.ReadFile(filepath.Join(d.procRoot, "sys/kernel/random/boot_id"))
	if err != nil {
		return keptCounts{}, err
	}
	namespace, err := os.Readlink(filepath.Join(d.procRoot, "self/ns/net"))
	if err != nil {
		return keptCounts{}, fmt.Errorf("network namespace: %w", err)
	}
	return keptCounts{Boot: strings.TrimSpace(string(boot)), Namespace: namespace}, nil
}
