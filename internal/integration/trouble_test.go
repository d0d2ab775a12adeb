package integration

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// busy is what a busy machine may take longer than the contract says.
const busy = 10 * time.Second

// onceBound is the contract's bound of socktally once.
const onceBound = 10*time.Second + busy

// dead returns the environments of receivers that take nothing, and what socktally must say of each.
func dead(t *testing.T) map[string]struct{ env, says []string } {
	t.Helper()
	dir := shortDir(t)
	stale := dir + "/stale.sock"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: stale, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // the file stays
	if _, err := os.Stat(stale); err != nil {
		t.Fatal(err)
	}
	hangs, _ := hanging(t)
	udp, tcp := freePort(t, "udp", "127.0.0.1"), freePort(t, "tcp", "127.0.0.1")
	return map[string]struct{ env, says []string }{
		"no UDP port":     {[]string{"DD_DOGSTATSD_URL=udp://127.0.0.1:" + udp}, []string{"127.0.0.1:" + udp, "connection refused"}},
		"no socket":       {[]string{"DD_DOGSTATSD_URL=unix://" + dir + "/none.sock"}, []string{dir + "/none.sock", "no such file"}},
		"stale socket":    {[]string{"DD_DOGSTATSD_URL=unix://" + stale}, []string{stale, "connection refused"}},
		"no HTTP port":    {[]string{"SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL=http://127.0.0.1:" + tcp}, []string{"127.0.0.1:" + tcp, "connection refused"}},
		"HTTP that hangs": {[]string{"SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL=http://" + hangs}, []string{hangs, "timeout"}},
	}
}

// TestOnceSaysWhatIsLost points socktally once at receivers that take nothing, and keeps nothing.
func TestOnceSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	binary(t, socktally)
	for name, c := range dead(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startSocktally(t, append(c.env, "SOCKTALLY_SPOOL_MAX_BYTES=0"), "once")
			code := p.wait(t)
			t.Logf("code %d after %v: %s", code, p.took.Round(time.Millisecond), p.stderr.String())
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if p.took > onceBound {
				t.Errorf("it took %v, the bound is %v", p.took, onceBound)
			}
			if p.stdout.String() != "" {
				t.Errorf("stdout: %q", p.stdout.String())
			}
			for _, want := range c.says {
				if !strings.Contains(p.stderr.String(), want) {
					t.Errorf("stderr does not say %q", want)
				}
			}
		})
	}
}

// TestOnceKeeps points socktally once at the same receivers with a place to keep the reading: that
// is a success, except by UDP, where nobody knows what arrived.
func TestOnceKeeps(t *testing.T) {
	t.Parallel()
	binary(t, socktally)
	for name, c := range dead(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startSocktally(t, c.env, "once")
			code := p.wait(t)
			t.Logf("code %d after %v: %s", code, p.took.Round(time.Millisecond), p.stderr.String())
			want := 0
			if strings.Contains(c.env[0], "udp://") {
				want = 1
			} else if p.stdout.String() != "" || p.stderr.String() != "" {
				t.Errorf("stdout %q, stderr %q, want nothing printed", p.stdout.String(), p.stderr.String())
			}
			if code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
			if p.took > onceBound {
				t.Errorf("it took %v, the bound is %v", p.took, onceBound)
			}
		})
	}
}

// TestKeptReadingArrivesWithItsTime lets a later run deliver what an earlier one kept.
func TestKeptReadingArrivesWithItsTime(t *testing.T) {
	t.Parallel()
	v := newVictoria(t)
	env := []string{
		"SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL=" + v.intake(), "DD_HOSTNAME=host-a", "SOCKTALLY_STATE_DIR=" + t.TempDir(),
	}
	onceDelivers(t, env...) // to the disk
	kept := time.Now()
	time.Sleep(2 * time.Second) // so that the second of one reading is not that of the other
	v.start(t)
	onceDelivers(t, env...)
	eventually(t, func() error {
		points := find(v.points(t, "host-a"), "sockstat.tcp.inuse")
		if len(points) != 2 || points[0].Time.After(kept) || !points[1].Time.After(kept) {
			return fmt.Errorf("VictoriaMetrics has %v, want one of before %v and one of after", points, kept)
		}
		return nil
	})
}

// stateChanges are the lines of the log that tell of delivery.
func stateChanges(p *process) []string {
	return slices.DeleteFunc(p.messages(), func(m string) bool {
		return m != msgDelivered && m != msgNotDelivered && m != msgAgain
	})
}

// several is long enough for several readings of a daemon that reads each second.
const several = 3500 * time.Millisecond

// outage is a receiver that can be absent at first.
type outage struct {
	env      []string
	start    func(t *testing.T) *process
	readings func(t *testing.T) float64
}

func outages(t *testing.T) map[string]func(t *testing.T) outage {
	statsd := func(newOne func(t *testing.T) *exporter) func(t *testing.T) outage {
		return func(t *testing.T) outage {
			e := newOne(t)
			return outage{
				[]string{e.address()},
				func(t *testing.T) *process { return e.start(t).process },
				func(t *testing.T) float64 { return sum(find(e.points(t), "socktally_readings")) },
			}
		}
	}
	return map[string]func(t *testing.T) outage{
		"udp":      statsd(func(t *testing.T) *exporter { return newExporter(t, "127.0.0.1") }),
		"unixgram": statsd(newUnixgramExporter),
		"http": func(t *testing.T) outage {
			v := newVictoria(t)
			return outage{
				[]string{"SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL=" + v.intake(), "DD_HOSTNAME=host-a"},
				func(t *testing.T) *process { return v.start(t).process },
				func(t *testing.T) float64 { return sum(find(v.points(t, "host-a"), "socktally.readings")) },
			}
		},
	}
}

func sum(points []point) float64 {
	s := 0.0
	for _, p := range points {
		s += p.Value
	}
	return s
}

func TestReceiverThatStartsLate(t *testing.T) {
	t.Parallel()
	for name, newOutage := range outages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOutage(t)
			d := startDaemon(t, o.env...)
			d.waitFor(t, msgNotDelivered)
			time.Sleep(several)
			if got := stateChanges(d); !slices.Equal(got, []string{msgNotDelivered}) {
				t.Errorf("while the receiver was absent the log said %q, want one line", got)
			}
			o.start(t)
			d.waitFor(t, msgAgain)
			checkReadingsGrow(t, o)
			if got := stateChanges(d); !slices.Equal(got, []string{msgNotDelivered, msgAgain}) {
				t.Errorf("the log said %q, want one line for each change", got)
			}
			endsWell(t, d)
		})
	}
}

func TestReceiverThatRestarts(t *testing.T) {
	t.Parallel()
	// A statsd_exporter does not start over the socket that a killed one left; UDP and HTTP do.
	for _, name := range []string{"udp", "http"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := outages(t)[name](t)
			receiver := o.start(t)
			d := startDaemon(t, o.env...)
			d.waitFor(t, msgDelivered)
			checkReadingsGrow(t, o)
			receiver.kill()
			d.waitFor(t, msgNotDelivered)
			time.Sleep(several)
			o.start(t)
			d.waitFor(t, msgAgain)
			checkReadingsGrow(t, o)
			if got := stateChanges(d); !slices.Equal(got, []string{msgDelivered, msgNotDelivered, msgAgain}) {
				t.Errorf("the log said %q, want one line for each change", got)
			}
			endsWell(t, d)
		})
	}
}

// TestLossIsTold holds a daemon to telling, once it can, how many samples a receiver that was down
// did not get.
func TestLossIsTold(t *testing.T) {
	t.Parallel()
	e := newExporter(t, "127.0.0.1")
	d := startDaemon(t, e.address())
	d.waitFor(t, msgNotDelivered)
	time.Sleep(several)
	e.start(t)
	eventually(t, func() error {
		dropped := find(e.points(t), "socktally_samples_dropped")
		for _, p := range dropped {
			if p.Labels["sink"] == "dogstatsd" && p.Labels["reason"] == "unreachable" && p.Value > 0 {
				return nil
			}
		}
		return fmt.Errorf("nothing of the loss: %v", dropped)
	})
	endsWell(t, d)
}

// checkReadingsGrow waits until a receiver has more readings than now.
func checkReadingsGrow(t *testing.T, o outage) {
	t.Helper()
	before := o.readings(t)
	eventually(t, func() error {
		if now := o.readings(t); now <= before {
			return fmt.Errorf("the receiver has %v readings, as before", now)
		}
		return nil
	})
}

// stopBound is the contract's bound from SIGTERM to the end.
const stopBound = 5*time.Second + busy

// endsWell stops a daemon whose receivers take samples.
func endsWell(t *testing.T, d *process) {
	t.Helper()
	told := time.Now()
	d.signal(t, syscall.SIGTERM)
	if code := d.wait(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	if took := time.Since(told); took > stopBound {
		t.Errorf("the end took %v, the bound is %v", took, stopBound)
	}
}

func TestStopWhileAReceiverHangs(t *testing.T) {
	t.Parallel()
	binary(t, socktally)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			address, connected := hanging(t)
			d := startDaemon(t, "SOCKTALLY_SCHEDULE=@every 1h", "SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL=http://"+address)
			<-connected
			told := time.Now()
			d.signal(t, s)
			code := d.wait(t)
			took := time.Since(told)
			t.Logf("code %d after %v: %s", code, took.Round(time.Millisecond), d.stderr.String())
			if took > stopBound {
				t.Errorf("the end took %v, the bound is %v", took, stopBound)
			}
			if code != 0 {
				t.Errorf("exit code %d, want 0: the reading is kept", code)
			}
		})
		t.Run(s.String()+" twice", func(t *testing.T) {
			t.Parallel()
			address, connected := hanging(t)
			d := startDaemon(t, "SOCKTALLY_SCHEDULE=@every 1h", "SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL=http://"+address)
			<-connected
			d.signal(t, s)
			time.Sleep(200 * time.Millisecond) // two at the same moment would be one
			select {
			case <-d.done:
				t.Fatal("one signal ended it, so that the test shows nothing")
			default:
			}
			d.signal(t, s)
			// The first signal alone ends it with 0, after seconds.
			if code := d.wait(t); code != 1 || !strings.Contains(d.stderr.String(), "stopped at once by a second signal") {
				t.Errorf("exit code %d, log %q", code, d.stderr.String())
			}
		})
	}
}
