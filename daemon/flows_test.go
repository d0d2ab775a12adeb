package daemon

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"socktally/config"
	"socktally/flows"
	"socktally/flows/coverage"
	"socktally/record"
)

// fakeCounter returns the records that the test sets.
type fakeCounter struct {
	mu       sync.Mutex
	records  []record.Flow
	losses   coverage.Losses
	err      error
	dns      []record.DNS
	dnsErr   error
	coverage []coverage.Entry
	closed   int
	tallies  int // that succeeded
}

func (c *fakeCounter) Source() record.Source      { return record.FromEBPF }
func (c *fakeCounter) Coverage() []coverage.Entry { return c.coverage }

func (c *fakeCounter) Tally(context.Context) ([]record.Flow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	records := c.records
	c.records = nil
	c.tallies++
	return records, nil
}

func (c *fakeCounter) TallyDNS(context.Context) ([]record.DNS, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dnsErr != nil {
		return nil, c.dnsErr
	}
	records := c.dns
	c.dns = nil
	return records, nil
}

func (c *fakeCounter) Losses() (coverage.Losses, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.losses, nil
}

func (c *fakeCounter) Close() error { c.closed++; return nil }

// tallied is how many tallies have succeeded.
func (c *fakeCounter) tallied() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tallies
}

// set changes what is counted next.
func (c *fakeCounter) set(err error, losses coverage.Losses, bytes ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err, c.losses = err, losses
	for _, n := range bytes {
		c.records = append(c.records, record.Flow{
			Protocol: "tcp", Direction: record.Outgoing,
			Client:   record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: record.Owner{Service: "Web"}},
			Server:   record.Endpoint{Addr: netip.MustParseAddr("10.0.0.2"), Port: 443},
			Counters: record.Counters{BytesSentByClient: n},
		})
	}
}

// withFlows changes a fixture to tally what c counts.
func withFlows(t *testing.T, c *fakeCounter, openErr error, change func(*config.Config)) func(*config.Config, *Options) {
	return func(cfg *config.Config, o *Options) {
		schedule, err := config.ParseSchedule("@every 30s", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cfg.Flows = config.Flows{Mode: "auto", Max: 100, Schedule: schedule, Tags: []string{"service", "remote"}, MaxCombinations: 10}
		if change != nil {
			change(cfg)
		}
		o.openFlows = func(flows.Options) (flowCounter, error) {
			if openErr != nil {
				return nil, openErr
			}
			return c, nil
		}
	}
}

func TestFlowsAreTallied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := &coverage.LoadError{Name: "walk_storage", Kind: "iter/bpf_sk_storage_map", Answer: "operation not permitted"}
		c := &fakeCounter{coverage: []coverage.Entry{
			{Part: coverage.TCP, By: "tp_btf/inet_sock_set_state"},
			{Part: coverage.TCPOpen, By: "iter/tcp", Errors: []*coverage.LoadError{refused}},
			{Part: coverage.DNS, Errors: []*coverage.LoadError{{Answer: "no"}}, Lost: "DNS", Remedy: "nothing"},
		}}
		f := newFixture(t, withFlows(t, c, nil, nil))
		c.set(nil, coverage.Losses{}, 100, 11)
		stop := f.run()
		synctest.Wait()
		if lines := f.log.lines("flows are counted"); len(lines) != 1 || !strings.Contains(lines[0], `source=ebpf schedule="@every 30s"`) {
			t.Errorf("got %q", lines)
		}
		const costs = `level=INFO msg="counting flows costs more" part=tcp_open by=iter/tcp because="walk_storage (iter/bpf_sk_storage_map): operation not permitted"`
		if lines := f.log.lines("costs more"); len(lines) != 1 || !strings.Contains(lines[0], costs) {
			t.Errorf("got %q", lines)
		}
		const less = `level=WARN msg="not all of flows is counted" part=dns because=no lost=DNS do=nothing`
		if lines := f.log.lines("not all of flows"); len(lines) != 1 || !strings.Contains(lines[0], less) {
			t.Errorf("got %q", lines)
		}
		if n := len(f.out.lines("socktally.flow.")); n != 0 {
			t.Errorf("%d flow metrics before the first interval ended", n)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if f.out.lines("socktally.flow.bytes_sent:111|c|#service:web,remote:10.0.0.2") == nil {
			t.Errorf("the flow is missing:\n%s", f.out.String())
		}
		c.set(nil, coverage.Losses{}, 5) // the last tally has it
		if err := stop(); err != nil {
			t.Error(err)
		}
		if f.out.lines("socktally.flow.bytes_sent:5|c|") == nil || c.closed != 1 {
			t.Errorf("the last flow is missing, or the counter closed %d times:\n%s", c.closed, f.out.String())
		}
		if n := len(f.out.lines("socktally.flows.tallies:1|c")); n != 2 {
			t.Errorf("%d tallies were counted, want 2", n)
		}
	})
}

func TestFlowsThatCannotBeCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, withFlows(t, nil, errors.Join(errors.New("no netlink"), errors.New("no BTF")), nil))
		stop := f.run()
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := len(f.out.lines("sockstat.sockets.used:12|g")); n != 5 {
			t.Errorf("%d readings in a minute, want 5", n)
		}
		if lines := f.log.lines("flows"); len(lines) != 1 || !strings.Contains(lines[0], `level=WARN msg="flows are not counted" because="no netlink; no BTF"`) {
			t.Errorf("got %q", lines)
		}
	})
}

func TestFlowTalliesThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCounter{}
		f := newFixture(t, withFlows(t, c, nil, nil))
		stop := f.run()
		lost := coverage.Losses{TableFull: 3, Untracked: 1}
		steps := []struct {
			err    error
			losses coverage.Losses
			log    string // in the line that this change makes, "" for none
			out    string
		}{
			{nil, coverage.Losses{}, "", "socktally.flow.bytes_sent:7|c"},
			{errors.New("walk sockets: EIO"), coverage.Losses{}, "could not be tallied", ""},
			{errors.New("walk sockets: EIO"), coverage.Losses{}, "", ""},
			{nil, coverage.Losses{}, "tallied again", "socktally.flow.bytes_sent:21|c"},
			{nil, lost, "not every flow", "socktally.flows.losses:3|c|#reason:table_full"},
			{nil, coverage.Losses{TableFull: 5, Untracked: 1}, "", "socktally.flows.losses:2|c|#reason:table_full"},
			{nil, coverage.Losses{TableFull: 5, Untracked: 1}, "as its own again", ""},
		}
		for i, step := range steps {
			c.set(step.err, step.losses, 7)
			before := f.log.lines("flow")
			time.Sleep(30 * time.Second)
			synctest.Wait()
			added := f.log.lines("flow")[len(before):]
			if i == 0 { // the line that says how flows are counted
				added = added[min(1, len(added)):]
			}
			if step.log == "" && len(added) > 0 || step.log != "" && (len(added) != 1 || !strings.Contains(added[0], step.log)) {
				t.Errorf("step %d logged %q, want one line with %q", i, added, step.log)
			}
			if step.out != "" && f.out.lines(step.out) == nil {
				t.Errorf("step %d lacks %s:\n%s", i, step.out, f.out.String())
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := len(f.out.lines("socktally.flows.tallies.failed:1|c")); n != 2 {
			t.Errorf("%d failed tallies were counted, want 2", n)
		}
	})
}

// setDNS adds a query, or has the next tallies of DNS fail.
func (c *fakeCounter) setDNS(err error, requests uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dnsErr = err
	r := record.DNS{
		Direction: record.Outgoing,
		Protocol:  "udp", Name: "a.invalid", Type: "A",
		Client: record.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: record.Owner{PID: 7, Service: "Web"}},
		Server: record.Endpoint{Addr: netip.MustParseAddr("10.0.0.53"), Port: 53},
	}
	r.Requests = requests
	c.dns = append(c.dns, r)
}

func TestDNSIsTallied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCounter{}
		f := newFixture(t, withFlows(t, c, nil, func(cfg *config.Config) { cfg.Tags = []string{"service:the-tally", "env:e"} }))
		stop := f.run()
		failed := errors.New("read DNS packets: EIO")
		for i, step := range []struct {
			err      error
			log, out string
		}{
			{nil, "", "socktally.dns.total_requests:1|c|#env:e,service:web,remote:10.0.0.53"},
			{failed, `msg="DNS could not be tallied" error="read DNS packets: EIO"`, ""},
			{failed, "", ""},
			{nil, "DNS is tallied again", "socktally.dns.total_requests:3|c|#env:e,service:web,remote:10.0.0.53"},
			{nil, "", "socktally.flows.dns.contexts:1|g"},
		} {
			c.setDNS(step.err, 1)
			c.set(nil, coverage.Losses{}, 7)
			before, flowsBefore := f.log.lines("DNS"), len(f.out.lines("socktally.flow.bytes_sent:7|c"))
			time.Sleep(30 * time.Second)
			synctest.Wait()
			added := f.log.lines("DNS")[len(before):]
			if step.log == "" && len(added) > 0 || step.log != "" && (len(added) != 1 || !strings.Contains(added[0], step.log)) {
				t.Errorf("step %d logged %q, want one line with %q", i, added, step.log)
			}
			if step.out != "" && f.out.lines(step.out) == nil {
				t.Errorf("step %d lacks %s:\n%s", i, step.out, f.out.String())
			}
			if len(f.out.lines("socktally.flow.bytes_sent:7|c")) != flowsBefore+1 {
				t.Errorf("step %d has no flows", i)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestNetworksAreReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "networks")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		write("10.0.0.0/8 name:DB")
		c := &fakeCounter{}
		f := newFixture(t, withFlows(t, c, nil, func(cfg *config.Config) { cfg.Flows.NetworksFile = path }))
		stop := f.run()
		for _, step := range []struct{ table, remote, log string }{
			{"", "db", ""},
			{"x\ny", "db", `msg="networks stay as they were" file=` + path + ` error="line 1: \"x\" is not a CIDR`},
			{"10.0.0.2/32 name:db-2", "db-2", `msg="networks are read again" file=` + path + " networks=1"},
			{"# none", "10.0.0.2", `msg="networks are read again" file=` + path + " networks=0"},
		} {
			if step.table != "" {
				write(step.table)
				before := f.log.lines("networks")
				f.daemon.Reload()
				if added := f.log.lines("networks")[len(before):]; len(added) != 1 || !strings.Contains(added[0], step.log) {
					t.Errorf("%q: logged %q, want one line with %s", step.table, added, step.log)
				}
			}
			c.set(nil, coverage.Losses{}, 7)
			before := len(f.out.lines("remote:" + step.remote + "\n"))
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if len(f.out.lines("remote:"+step.remote+"\n")) == before {
				t.Errorf("%q: no flow to %s:\n%s", step.table, step.remote, f.out.String())
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	f := newFixture(t, nil)
	f.daemon.Reload()
	if f.log.lines("nothing to read") == nil {
		t.Error("a reload without a table said nothing")
	}
	f.daemon.forwarder.Close(0)
	write("bad")
	if _, err := New(config.Config{Flows: config.Flows{NetworksFile: path, MaxCombinations: 1}}, f.daemon.log, Options{}); err == nil || !strings.Contains(err.Error(), path+": line 1: ") {
		t.Errorf("got %v", err)
	}
}
