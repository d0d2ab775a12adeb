package daemon

import (
	"log/slog"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/robfig/cron/v3"

	"socktally/internal/clock"
)

// manager tells the service manager how the daemon fares, by sd_notify(3). Without one, which is
// without NOTIFY_SOCKET in the environment, it does nothing.
type manager struct {
	log   *slog.Logger
	clock clock.Clock
	// reading is the monotonic time when the reading that now runs began, nil where none runs.
	reading atomic.Pointer[time.Duration]
}

// tell sends one state. An error is logged and not returned: the readings matter more.
func (m *manager) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		m.log.Warn("the service manager cannot be told", "state", state, "error", err)
	}
}

// begin notes that a reading runs until the function that it returns is called.
func (m *manager) begin() (end func()) {
	now := m.clock.Monotonic()
	m.reading.Store(&now)
	return func() { m.reading.Store(nil) }
}

// watch reports life twice in each of the manager's watchdog intervals, if it wants that. The reports
// stand on the schedule of the readings, so that they end with it, and they pause while a reading has
// run for a whole interval.
func (m *manager) watch(schedule *cron.Cron) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		m.log.Warn("the service manager's watchdog cannot be served", "error", err)
	}
	if interval <= 0 {
		return
	}
	schedule.Schedule(cron.Every(interval/2), cron.FuncJob(func() {
		if began := m.reading.Load(); began == nil || m.clock.Monotonic()-*began < interval {
			m.notify(sd.SdNotifyWatchdog)
		}
	}))
}
