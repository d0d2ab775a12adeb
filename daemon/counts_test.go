package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"socktally/config"
	"socktally/internal/filelock"
	"socktally/metric"
)

const retransmits = "sockstat.tcp.retrans_segs"

// snmp is the text of a kernel that has sent n segments again.
func snmp(n int) string { return fmt.Sprintf("Tcp: OutSegs RetransSegs\nTcp: 100 %d\n", n) }

// put writes a file below the proc file system of a test.
func put(t *testing.T, root, path, text string) {
	t.Helper()
	file := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// identify says which boot and which network namespace the proc file system of a test is of.
func identify(t *testing.T, root, boot, namespace string) {
	t.Helper()
	put(t, root, "sys/kernel/random/boot_id", boot+"\n")
	if err := os.MkdirAll(filepath.Join(root, "self/ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(namespace, filepath.Join(root, "self/ns/net")); err != nil {
		t.Fatal(err)
	}
}

func TestCountsAreOfTheirInterval(t *testing.T) {
	var c counts
	const other = "sockstat.udp.no_ports"
	steps := []struct {
		after  time.Duration
		totals map[string]float64
		want   map[string]metric.Sample
	}{
		{0, map[string]float64{retransmits: 1000}, nil}, // the first time
		{10 * time.Second, map[string]float64{retransmits: 1007, other: 5}, map[string]metric.Sample{retransmits: {Value: 7, Interval: 10 * time.Second}}},
		{15 * time.Second, map[string]float64{retransmits: 1007}, map[string]metric.Sample{retransmits: {Value: 0, Interval: 15 * time.Second}}},
		// It was absent for a reading, so that its count is of two intervals.
		{20 * time.Second, map[string]float64{retransmits: 3, other: 6}, map[string]metric.Sample{other: {Value: 1, Interval: 35 * time.Second}}}, // and this one fell back
		{5 * time.Second, map[string]float64{retransmits: 4, other: 6}, map[string]metric.Sample{retransmits: {Value: 1, Interval: 5 * time.Second}, other: {Value: 0, Interval: 5 * time.Second}}},
	}
	at := time.Duration(0)
	for i, step := range steps {
		at += step.after
		samples := []metric.Sample{{Name: "sockstat.tcp.inuse", Value: 3}}
		for name, value := range step.totals {
			samples = append(samples, metric.Sample{Name: name, Kind: metric.Cumulative, Value: value})
		}
		got := c.since(samples, at)
		if len(got) != 1+len(step.want) || got[0].Name != "sockstat.tcp.inuse" || got[0].Kind != metric.Gauge || got[0].Value != 3 {
			t.Errorf("step %d: got %+v", i, got)
		}
		for _, s := range got[1:] {
			if want := step.want[s.Name]; s.Kind != metric.Count || s.Value != want.Value || s.Interval != want.Interval {
				t.Errorf("step %d: got %+v, want %v in %v", i, s, want.Value, want.Interval)
			}
		}
	}
}

// TestRunSendsCounts reads a kernel that counts on, and one whose counters fell back.
func TestRunSendsCounts(t *testing.T) {
	f := newFixture(t, nil)
	for _, n := range []int{50, 53, 53, 2, 6} {
		put(t, f.daemon.procRoot, "self/net/snmp", snmp(n))
		f.daemon.tick()
	}
	f.daemon.forwarder.Close(time.Minute)
	if got := sent(f); !slices.Equal(got, []string{"3", "0", "4"}) {
		t.Errorf("sent the counts %q, want 3, 0 and 4", got)
	}
}

// sent returns the counts of retransmits that were written.
func sent(f *fixture) (values []string) {
	for _, line := range f.out.lines(retransmits) {
		value, _, _ := strings.Cut(strings.TrimPrefix(line, retransmits+":"), "|c")
		values = append(values, value)
	}
	return values
}

// TestOnceCountsSinceTheRunBefore has one run after the other over the same state folder.
func TestOnceCountsSinceTheRunBefore(t *testing.T) {
	state := filepath.Join(t.TempDir(), "not", "there", "yet")
	kept := filepath.Join(state, "once", "stdout.json")
	steps := []struct {
		name            string
		boot, namespace string
		total           int
		before          func(t *testing.T)
		broken          bool   // the receiver
		want            string // "" for no count
	}{
		{name: "the first time", total: 10},
		{name: "the second", total: 15, want: "5"},
		{name: "nothing happened", total: 15, want: "0"},
		{name: "a receiver that is down", total: 20, broken: true},
		{name: "what that one was not told", total: 22, want: "7"},
		{name: "another boot, which counted more", boot: "b", total: 100},
		{name: "the same", boot: "b", total: 101, want: "1"},
		{name: "another network namespace", boot: "b", namespace: "net:[2]", total: 200},
		{name: "the same", boot: "b", namespace: "net:[2]", total: 203, want: "3"},
		{name: "a counter that fell back", boot: "b", namespace: "net:[2]", total: 1},
		{name: "and counts on", boot: "b", namespace: "net:[2]", total: 2, want: "1"},
		{name: "a damaged file", boot: "b", namespace: "net:[2]", total: 3, before: func(t *testing.T) {
			if err := os.WriteFile(kept, []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "and after it", boot: "b", namespace: "net:[2]", total: 5, want: "2"},
		{name: "another run is at work", boot: "b", namespace: "net:[2]", total: 6, before: func(t *testing.T) {
			unlock, err := filelock.Try(kept + ".lock")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(unlock)
		}},
		{name: "and after it", boot: "b", namespace: "net:[2]", total: 7, want: "2"},
	}
	for _, step := range steps {
		run := func(t *testing.T) {
			if step.before != nil {
				step.before(t)
			}
			f := newFixture(t, func(cfg *config.Config, o *Options) {
				cfg.StateDir = state
				if step.broken {
					o.Stdout = brokenWriter{}
				}
			})
			root := f.daemon.procRoot
			identify(t, root, "a"+step.boot, "net:[1]"+step.namespace)
			put(t, root, "self/net/snmp", snmp(step.total))
			if err := f.daemon.Once(); (err != nil) != step.broken {
				t.Errorf("got the error %v", err)
			}
			got := sent(f)
			if step.want == "" && len(got) > 0 || step.want != "" && !slices.Equal(got, []string{step.want}) {
				t.Errorf("sent the counts %q, want %q", got, step.want)
			}
		}
		t.Run(step.name, func(t *testing.T) { synctest.Test(t, run) })
	}
}

// TestOnceWithoutAStateFolder has no counts, and succeeds: all else is told.
func TestOnceWithoutAStateFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f := newFixture(t, func(cfg *config.Config, _ *Options) { cfg.StateDir = file })
		root := f.daemon.procRoot
		identify(t, root, "a", "net:[1]")
		if err := f.daemon.Once(); err != nil {
			t.Error(err)
		}
		if len(sent(f)) > 0 || f.out.lines("sockstat.tcp.inuse:3|g") == nil {
			t.Errorf("want the gauges alone, got\n%s", f.out.String())
		}
		if n := len(f.log.lines("there are no counts of the kernel")); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, f.log.String())
		}
	}
}
