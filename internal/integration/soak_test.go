package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSoak runs the daemon under the race detector, reading and tallying flows each second and sending
// by both ways.
func TestSoak(t *testing.T) {
	t.Parallel()
	e, v := newExporter(t, "127.0.0.1").start(t), newVictoria(t).start(t)
	d := start(t, []string{
		"SOCKTALLY_SCHEDULE=@every 1s", "SOCKTALLY_LOG_FORMAT=json", "SOCKTALLY_FORWARD=dogstatsd,http,stdout", "DD_HOSTNAME=host-a",
		e.address(), "SOCKTALLY_HTTP_URL=" + v.intake(), "GORACE=halt_on_error=1", "SOCKTALLY_STATE_DIR=" + t.TempDir(),
		"SOCKTALLY_FLOWS_SCHEDULE=@every 1s",
	}, binary(t, socktallyRace), "run", "--env-file", os.DevNull)

	var descriptors, threads []int
	const used = "sockstat.sockets.used"
	wanted := int(soak.Seconds())
	for end := time.Now().Add(*soak + patience); d.printed(used) < wanted; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d readings in %v, want %d", d.printed(used), *soak+patience, wanted)
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", d.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		descriptors, threads = append(descriptors, len(fds)), append(threads, len(tasks))
	}
	endsWell(t, d)

	// VictoriaMetrics keeps the second of each reading: none is missing, none is there twice.
	taken := d.printed(used)
	var seconds []int64
	readings := 0.0
	eventually(t, func() error {
		seconds = nil
		points := v.points(t, "host-a")
		for _, p := range find(points, used) {
			seconds = append(seconds, p.Time.Unix())
		}
		if readings = sum(find(points, "socktally.readings")); len(seconds) != taken || readings != float64(taken) {
			return fmt.Errorf("VictoriaMetrics has %d readings of %d, they say that they are %v", len(seconds), taken, readings)
		}
		return nil
	})
	slices.Sort(seconds)
	if len(slices.Compact(slices.Clone(seconds))) != taken {
		t.Errorf("two readings are of one second: %v", seconds)
	}
	eventually(t, func() error {
		if got := sum(find(e.points(t), "socktally_readings")); got != readings {
			return fmt.Errorf("statsd_exporter has %v readings, VictoriaMetrics %v", got, readings)
		}
		return nil
	})
	for _, name := range []string{"socktally_readings_failed", "socktally_samples_dropped", "socktally_samples_spooled"} {
		if found := find(e.points(t), name); len(found) != 0 {
			t.Errorf("%v", found)
		}
	}

	// Descriptors come and go within a reading; what stays open is the least of many looks.
	quarter := len(descriptors) / 4
	first, last := descriptors[quarter:2*quarter], descriptors[3*quarter:]
	t.Logf("%v readings; descriptors %d to %d, then %d to %d; threads at most %d, then %d", readings,
		slices.Min(first), slices.Max(first), slices.Min(last), slices.Max(last), slices.Max(threads[quarter:2*quarter]), slices.Max(threads[3*quarter:]))
	if slices.Min(last) > slices.Min(first) {
		t.Errorf("open descriptors grew from %d to %d", slices.Min(first), slices.Min(last))
	}
	// The Go runtime may start a thread at any time, and does where the machine is busy; one for each reading
	// would be twice as many.
	spare := max(2, taken/4)
	if was, is := slices.Max(threads[quarter:2*quarter]), slices.Max(threads[3*quarter:]); is > was+spare {
		t.Errorf("threads grew from %d to %d", was, is)
	}
	if strings.Contains(d.stderr.String(), "DATA RACE") {
		t.Errorf("%s", d.stderr.String())
	}
	if got := stateChanges(d); !slices.Equal(got, []string{msgDelivered, msgDelivered, msgDelivered}) {
		t.Errorf("the log said %q, want one line for each sink", got)
	}
}
