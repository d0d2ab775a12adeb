package flowmetric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"socktally/metric"
	"socktally/record"
)

var (
	start    = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	interval = 30 * time.Second
)

// text is a random name of a process.
var text = rapid.OneOf(
	rapid.SampledFrom([]string{"", "web", "Web", "WEB!", "db", "other", "n/a", "a,b:c", "x\nsocktally.flow.reset:9|c", "|#env:prod", "\xff\xfe", strings.Repeat("long", 100)}),
	rapid.String(),
)

func owner() *rapid.Generator[record.Owner] {
	return rapid.Custom(func(t *rapid.T) record.Owner {
		return record.Owner{
			PID:         rapid.Uint32Range(0, 3).Draw(t, "pid"),
			Process:     text.Draw(t, "process"),
			Service:     text.Draw(t, "service"),
			Env:         text.Draw(t, "env"),
			Version:     text.Draw(t, "version"),
			ContainerID: text.Draw(t, "container"),
			PodUID:      text.Draw(t, "pod"),
			Tags:        rapid.SliceOfN(text, 0, 3).Draw(t, "tags"),
		}
	})
}

var addr = rapid.Custom(func(t *rapid.T) netip.Addr {
	last := rapid.ByteRange(0, 20).Draw(t, "last")
	if rapid.Bool().Draw(t, "six") {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: last})
	}
	return netip.AddrFrom4([4]byte{10, 0, last % 2, last})
})

// value is small, large or so large that two of them pass 2^53.
var value = rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64Range(0, 1<<40))

var anyFlow = rapid.Custom(func(t *rapid.T) record.Flow {
	r := record.Flow{
		Protocol:  rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "protocol"),
		Family:    "ipv4",
		Source:    record.FromEBPF,
		Direction: rapid.SampledFrom([]record.Direction{record.Outgoing, record.Incoming, record.Local}).Draw(t, "direction"),
	}
	for _, n := range []*uint64{
		&r.BytesSentByClient, &r.BytesSentByServer, &r.PacketsSentByClient, &r.PacketsSentByServer, &r.RTTSum, &r.RTTSamples,
		&r.Retransmits, &r.Established, &r.Closed, &r.Refusals, &r.Resets, &r.Timeouts, &r.Unreachables,
	} {
		*n = value.Draw(t, "n")
	}
	if rapid.IntRange(0, 9).Draw(t, "overflow") > 0 {
		r.Client = record.Endpoint{Addr: addr.Draw(t, "client"), Owner: owner().Draw(t, "client owner")}
		r.ServerDomain = text.Draw(t, "domain")
		r.Server = record.Endpoint{Addr: addr.Draw(t, "server"), Port: rapid.Uint16Range(0, 3).Draw(t, "port"), Owner: owner().Draw(t, "server owner")}
	}
	return r
})

var tagNames = rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string {
	names := []string{"tag.team", "tag.a"}
	for _, known := range metric.FlowTags() {
		names = append(names, known.Name)
	}
	return rapid.SampledFrom(names).Draw(t, "tag")
}), 0, 8, rapid.ID[string])

type someNetworks struct{}

func (someNetworks) Lookup(a netip.Addr) (string, []string) {
	switch {
	case a.Is6():
		return "Six", nil
	case a.As4()[2] == 1:
		return "", []string{"dc:north", "room:other"}
	}
	return "", nil
}

// totals sums the counts of records by the names of their metrics.
func totals(records []record.Flow) map[string]uint64 {
	sums := map[string]uint64{}
	for _, r := range records {
		sent, received := metric.FlowBytesSent, metric.FlowBytesReceived
		packetsOut, packetsIn := metric.FlowPacketsSent, metric.FlowPacketsReceived
		if r.Direction == record.Incoming {
			sent, received, packetsOut, packetsIn = received, sent, packetsIn, packetsOut
		}
		sums[sent] += r.BytesSentByClient
		sums[received] += r.BytesSentByServer
		sums[packetsOut] += r.PacketsSentByClient
		sums[packetsIn] += r.PacketsSentByServer
		sums[metric.FlowRetransmits] += r.Retransmits
		sums[metric.FlowEstablished] += r.Established
		sums[metric.FlowClosed] += r.Closed
		sums[metric.FlowRefused] += r.Refusals
		sums[metric.FlowReset] += r.Resets
		sums[metric.FlowTimeout] += r.Timeouts
		sums[metric.FlowUnreachable] += r.Unreachables
	}
	return sums
}

// TestSumsAndBudget checks, for random flows of several intervals: the sums over all tags are the sums of the records,
// there are no more combinations than the budget allows, no combination has two values of one metric, and each tag is
// exactly one tag.
func TestSumsAndBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := tagNames.Draw(t, "tags")
		budget := rapid.IntRange(1, 12).Draw(t, "budget")
		s, err := New(Options{Tags: names, MaxCombinations: budget})
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "networks") {
			s.SetNetworks(someNetworks{})
		}
		for range rapid.IntRange(1, 5).Draw(t, "intervals") {
			records := rapid.SliceOfN(anyFlow, 0, 30).Draw(t, "records")
			check(t, s.Samples(records, start, interval), totals(records), without(names, onlyDNS), budget)
		}
	})
}

// without is a list without the members of another.
func without(names, left []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(left, name) })
}

// check compares the samples with the expected sums. It changes sums.
func check(t *rapid.T, samples []metric.Sample, sums map[string]uint64, names []string, budget int) {
	contexts, seen := map[string]bool{}, map[string]bool{}
	reported := -1.0
	for _, m := range samples {
		d, ok := metric.Lookup(m.Name)
		if !ok || d.Kind != m.Kind || !m.Time.Equal(start) || (m.Kind == metric.Count) != (m.Interval == interval) {
			t.Fatalf("%+v against %+v", m, d)
		}
		if d.Scope == metric.Process {
			if m.Name == metric.FlowCombinationsSent || m.Name == metric.DNSCombinationsSent {
				reported = m.Value
			}
			continue
		}
		key := strings.Join(m.Tags, ",")
		if id := m.Name + "|" + key; seen[id] {
			t.Fatalf("%s came twice", id)
		} else {
			seen[id] = true
		}
		contexts[key] = true
		checkTags(t, m.Tags, names)
		if m.Kind == metric.Count {
			if m.Value <= 0 || m.Value != float64(uint64(m.Value)) {
				t.Fatalf("%s = %v", m.Name, m.Value)
			}
			sums[m.Name] -= uint64(m.Value)
		}
	}
	if len(contexts) > budget || float64(len(contexts)) != reported {
		t.Fatalf("%d combinations, %v reported, in a budget of %d: %v", len(contexts), reported, budget, contexts)
	}
	for name, rest := range sums {
		if rest != 0 {
			t.Fatalf("%s: %d of the records is not in the samples", name, int64(rest))
		}
	}
}

func checkTags(t *rapid.T, tags, names []string) {
	for _, tag := range tags {
		key, value, _ := strings.Cut(tag, ":")
		if metric.CheckTag(tag) != nil || value == "" || strings.ToLower(tag) != tag || len(tag) > metric.MaxTagLength {
			t.Fatalf("tag %q: %v", tag, metric.CheckTag(tag))
		}
		fromNetworks := slices.Contains(names, metric.NetworksTag) && (key == "dc" || key == "room")
		if !fromNetworks && !slices.Contains(names, key) && !slices.Contains(names, metric.ProcessTagPrefix+key) {
			t.Fatalf("tag %q was not asked for: %q", tag, names)
		}
	}
	want := len(names)
	if slices.Contains(names, metric.NetworksTag) {
		want--
	}
	if len(tags) < want {
		t.Fatalf("%q lacks some of %q", tags, names)
	}
}

// TestSteadyFlowsKeepTheirPlaces checks that flows keep their slots if their bytes change by less than a factor of two,
// however many flows there are.
func TestSteadyFlowsKeepTheirPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := slots{weights: map[string]uint64{}}
		n, all := rapid.IntRange(1, 10).Draw(t, "places"), rapid.IntRange(1, 30).Draw(t, "flows")
		base := make([]uint64, all)
		for i := range base {
			base[i] = rapid.Uint64Range(1000, 1400).Draw(t, "base")
		}
		var first []int
		for range 8 {
			claims := make([]candidate, all)
			for i := range claims {
				claims[i] = candidate{key: fmt.Sprint(i), amount: base[i] + rapid.Uint64Range(0, 599).Draw(t, "noise"), index: i}
			}
			placed, rest := p.assign(claims, n)
			slices.Sort(placed)
			if len(placed) != min(n, all) || len(placed)+len(rest) != all || len(p.weights) != len(placed) {
				t.Fatalf("%d placed, %d not, %d held", len(placed), len(rest), len(p.weights))
			}
			if first == nil {
				first = placed
			} else if !slices.Equal(first, placed) {
				t.Fatalf("places went from %v to %v", first, placed)
			}
		}
	})
}
