package daemon

import (
	"log/slog"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/robfig/cron/v3"

	"socktally/internal/clock"
)

// manager reports the state of the daemon to the service manager by sd_notify(3). It does nothing if there is no
// NOTIFY_SOCKET in the environment.
type manager struct {
	log   *slog.Logger
	clock clock.Clock
	// reading is the monotonic time at which the current reading began, nil if none runs.
	reading atomic.Pointer[time.Duration]
}

// notify sends one state. An error is logged but not returned, because readings must go on.
func (m *manager) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		m.log.Warn("the service manager cannot be told", "state", state, "error", err)
	}
}

// begin notes that a reading runs. It ends when the returned function is called.
func (m *manager) begin() (end func()) {
	now := m.clock.Monotonic()
	m.reading.Store(&now)
	return func() { m.reading.Store(nil) }
}

// watch sends keep-alive messages if the service manager has a watchdog, two in each watchdog interval. They are jobs of
// the same cron as the readings, so they stop if that stops. They also stop while a reading has run for a whole interval.
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
