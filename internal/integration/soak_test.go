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
		"SOCKTALLY_SCHEDULE=@every 1s", "SOCKTALLY_LOG_FORMAT=json", "SOCKTALLY_FORWARD=dogstatsd,http", "DD_HOSTNAME=host-a",
		e.address(), "SOCKTALLY_HTTP_URL=" + v.intake(), "GORACE=halt_on_error=1", "SOCKTALLY_STATE_DIR=" + t.TempDir(),
		"SOCKTALLY_FLOWS_SCHEDULE=@every 1s",
	}, binary(t, socktallyRace), "run", "--env-file", os.DevNull)

	var descriptors, threads []int
	for end := time.Now().Add(*soak); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
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
	var seconds []int64
	readings := 0.0
	eventually(t, func() error {
		seconds = nil
		points := v.points(t, "host-a")
		for _, p := range find(points, "sockstat.sockets.used") {
			seconds = append(seconds, p.Time.Unix())
		}
		if readings = sum(find(points, "socktally.readings")); float64(len(seconds)) != readings {
			return fmt.Errorf("VictoriaMetrics has %d readings, they say that they are %v", len(seconds), readings)
		}
		return nil
	})
	slices.Sort(seconds)
	for i, s := range seconds {
		if s != seconds[0]+int64(i) {
			t.Errorf("the readings are not one of each second: %v", seconds)
			break
		}
	}
	if least := int(soak.Seconds()); len(seconds) < least {
		t.Errorf("%d readings in %v, want at least %d", len(seconds), *soak, least)
	}
	eventually(t, func() error {
		if got := sum(find(e.points(t), "socktally_readings")); got != readings {
			return fmt.Errorf("statsd_exporter has %v readings, VictoriaMetrics %v", got, readings)
		}
		return nil
	})
	for _, name := range []string{"socktally_readings_failed", "socktally_readings_skipped", "socktally_samples_dropped", "socktally_samples_spooled"} {
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
	// The Go runtime may start a thread at any time; one for each reading would be many.
	const spare = 2
	if was, is := slices.Max(threads[quarter:2*quarter]), slices.Max(threads[3*quarter:]); is > was+spare {
		t.Errorf("threads grew from %d to %d", was, is)
	}
	if strings.Contains(d.stderr.String(), "DATA RACE") {
		t.Errorf("%s", d.stderr.String())
	}
	if got := stateChanges(d); !slices.Equal(got, []string{msgDelivered, msgDelivered}) {
		t.Errorf("the log said %q, want one line for each sink", got)
	}
}
