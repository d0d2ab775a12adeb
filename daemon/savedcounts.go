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

// savedCounts is the file in which one `once` saves for the next what the kernel had counted.
type savedCounts struct {
	// Boot and Namespace are where these numbers were counted; others have nothing to do with them.
	Boot      string                `json:"boot_id"`
	Namespace string                `json:"network_namespace"`
	Totals    map[string]savedTotal `json:"totals"` // by the name of the metric
}

type savedTotal struct {
	Value float64   `json:"value"`
	Read  time.Time `json:"read"`
}

// restoreCounts begins d.counts with what the run before saved. It returns the function that saves them for the next
// run, which is to be called once, with whether a receiver took the counts of this run. There is a file for each list
// of sinks, so that runs for different receivers do not take each other's counts. After an error this run has no
// counts and saves none.
func (d *Daemon) restoreCounts() (save func(delivered bool) error, err error) {
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
	var saved savedCounts
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		d.log.Warn("the counts of earlier runs are lost", "error", err)
	case saved.Boot == here.Boot && saved.Namespace == here.Namespace:
		now, at := d.clock.Now(), d.clock.Monotonic()
		d.counts.last = map[string]total{}
		for name, t := range saved.Totals {
			d.counts.last[name] = total{t.Value, at - now.Sub(t.Read)}
		}
	}
	return func(delivered bool) error {
		defer unlock()
		if !delivered {
			return nil // the next run tells what this one could not
		}
		now, at := d.clock.Now(), d.clock.Monotonic()
		here.Totals = map[string]savedTotal{}
		for name, t := range d.counts.last {
			here.Totals[name] = savedTotal{t.value, now.Add(t.at - at)}
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
func (d *Daemon) kernel() (savedCounts, error) {
	boot, err := os.ReadFile(filepath.Join(d.procRoot, "sys/kernel/random/boot_id"))
	if err != nil {
		return savedCounts{}, err
	}
	namespace, err := os.Readlink(filepath.Join(d.procRoot, "self/ns/net"))
	if err != nil {
		return savedCounts{}, fmt.Errorf("network namespace: %w", err)
	}
	return savedCounts{Boot: strings.TrimSpace(string(boot)), Namespace: namespace}, nil
}
