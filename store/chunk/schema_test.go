package chunk

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"socktally/record"
)

// TestSchemaIsComplete fails when a record gets a member that chunks would lose.
func TestSchemaIsComplete(t *testing.T) {
	s := ours()
	for _, c := range []struct {
		of      any
		columns int
	}{
		// Members that are structs are counted by theirs.
		{record.Flow{}, len(s.flows) - 6 /* of ends */ - len(record.Fields()) - 1 /* known */ + 3},
		{record.Counters{}, len(record.Fields()) + 1},
		{record.DNS{}, len(s.dns) - 6 - len(record.DNSFields()) - 2 /* latencies */ + 3},
		{record.DNSCounts{}, len(record.DNSFields()) + 2},
		{record.Endpoint{}, 6 / 2},
		{record.Owner{}, len(s.owners)},
	} {
		if n := reflect.TypeOf(c.of).NumField(); n != c.columns {
			t.Errorf("%T has %d fields, chunks have columns for %d", c.of, n, c.columns)
		}
	}
	for _, names := range [][]string{namesOf(s.flows), namesOf(s.dns), namesOf(s.owners)} {
		slices.Sort(names)
		if n := len(slices.Compact(names)); n != len(names) {
			t.Errorf("a name is there twice: %v", names)
		}
	}
}

func namesOf[R any](columns []column[R]) (names []string) {
	for _, c := range columns {
		names = append(names, c.name)
	}
	return names
}

// set gives each member below v a value that depends on the seed and on how many were set before.
func set(v reflect.Value, seed int, n *int) {
	*n++
	value := seed + *n
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = netip.AddrFrom4([4]byte{192, 0, byte(seed), byte(*n)})
		return
	case *record.Known:
		*p = record.Known(value%3 + 1)
		return
	case *record.Latency:
		*p = record.Latency{}
		p.Add(time.Duration(value) * time.Millisecond)
		return
	case *[]string:
		*p = []string{fmt.Sprint("a", value), "", "b"}[:1+value%3]
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			set(v.Field(i), seed, n)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text", value))
	default:
		v.SetUint(uint64(value))
	}
}

// TestEachMember: each member, of whatever values, comes back, and each owner that is another has another number.
func TestEachMember(t *testing.T) {
	flows, queries := make([]record.Flow, 7), make([]record.DNS, 7)
	for i := range 5 { // of the last two, all is zero
		n := 0
		set(reflect.ValueOf(&flows[i]).Elem(), 100*i, &n)
		n = 0
		set(reflect.ValueOf(&queries[i]).Elem(), 100*i, &n)
	}
	e, d := NewEncoder(ours()), NewDecoder(ours())
	for range 2 { // with memory that is used
		for from := range flows {
			want := flows[from:]
			if got := flowsOf(t, ours(), e.Flows(pointers(want))); !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, want)
			}
			at := from
			err := d.DNS(e.DNS(pointers(queries[from:])), func(r *record.DNS) error {
				// A histogram that is empty again keeps its memory.
				if got, want := fmt.Sprintf("%+v", *r), fmt.Sprintf("%+v", queries[at]); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				at++
				return nil
			})
			if err != nil || at != len(queries) {
				t.Errorf("%d queries, %v", at-from, err)
			}
		}
	}
	var owners Owners
	base := flows[0].Client.Owner
	owners.Number(&base)
	for i := range reflect.TypeOf(base).NumField() {
		other := base
		n := 0
		set(reflect.ValueOf(&other).Elem().Field(i), 1000, &n)
		if owners.Find(&base) != 0 || owners.Find(&other) != Absent || owners.Number(&other) != uint32(1+i) ||
			sameOwner(&base, &other) || !sameOwner(&other, &other) {
			t.Errorf("an owner with another %s is not another", reflect.TypeOf(base).Field(i).Name)
		}
	}
}

// without is a schema of a program that does not know some columns.
func without(s *Schema, names ...string) *Schema {
	old := *s
	old.flows = slices.DeleteFunc(slices.Clone(s.flows), func(c column[record.Flow]) bool { return slices.Contains(names, c.name) })
	old.dns = slices.DeleteFunc(slices.Clone(s.dns), func(c column[record.DNS]) bool { return slices.Contains(names, c.name) })
	old.owners = slices.DeleteFunc(slices.Clone(s.owners), func(c column[record.Owner]) bool { return slices.Contains(names, c.name) })
	old.optional = slices.DeleteFunc(slices.Clone(s.optional), func(f record.Field[record.Counters]) bool { return slices.Contains(names, f.Name) })
	return &old
}

// TestEachColumnMayBeMissing: whichever column a program does not know, it reads all else, and a program that knows it
// reads zero from what that one wrote.
func TestEachColumnMayBeMissing(t *testing.T) {
	var flows [3]record.Flow
	var queries [3]record.DNS
	for i := range flows {
		n := 0
		set(reflect.ValueOf(&flows[i]).Elem(), 100*i, &n)
		n = 0
		set(reflect.ValueOf(&queries[i]).Elem(), 100*i, &n)
	}
	s := ours()
	for i, name := range slices.Concat(namesOf(s.flows), namesOf(s.dns), namesOf(s.owners)) {
		older := without(s, name)
		wantFlows, wantDNS := slices.Clone(flows[:]), slices.Clone(queries[:])
		for j := range flows {
			zero(s.flows, name, &wantFlows[j])
			zero(s.dns, name, &wantDNS[j])
			for _, e := range []*record.Endpoint{&wantFlows[j].Client, &wantFlows[j].Server, &wantDNS[j].Client, &wantDNS[j].Server} {
				zero(s.owners, name, &e.Owner)
			}
			for _, f := range s.optional {
				if f.Name == name {
					wantFlows[j].Known &^= f.Optional
				}
			}
		}
		for _, c := range []struct {
			what           string
			writer, reader *Schema
		}{{"an older reader", s, older}, {"an older writer", older, s}} {
			e := NewEncoder(c.writer)
			got := flowsOf(t, c.reader, e.Flows(pointers(flows[:])))
			if !reflect.DeepEqual(got, wantFlows) {
				t.Errorf("%d, %s without %s: got\n%+v\nwant\n%+v", i, c.what, name, got, wantFlows)
			}
			text, err := read(c.reader, payload{e.DNS(pointers(queries[:])), true})
			if err != nil {
				t.Fatal(err)
			}
			for j := range text {
				if want := fmt.Sprintf("%+v", wantDNS[j]); text[j] != want {
					t.Errorf("%s without %s: got\n%s\nwant\n%s", c.what, name, text[j], want)
				}
			}
		}
	}
}

// zero sets the member of a column to zero.
func zero[R any](columns []column[R], name string, r *R) {
	for _, c := range columns {
		if c.name == name {
			reflect.ValueOf(c.of(r)).Elem().SetZero()
		}
	}
}

// TestLayout1Directions: layout 1 did not keep which ends were on this host, so the owners decide.
func TestLayout1Directions(t *testing.T) {
	for _, p := range layout1(t) {
		if !p.isDNS {
			continue
		}
		seen := map[record.Direction]int{}
		err := NewDecoder(ours()).DNS(p.bytes, func(r *record.DNS) error {
			seen[r.Direction]++
			if client, server := r.Client.Owner.PID != 0, r.Server.Owner.PID != 0; r.Direction.ServerIsHere() != server ||
				r.Direction.ClientIsHere() != (client || !server) {
				t.Errorf("%s: client %v, server %v", r.Direction, client, server)
			}
			return nil
		})
		if err != nil || len(seen) != 3 || seen[record.Outgoing] != 2 {
			t.Errorf("%v, %v", seen, err)
		}
	}
}
