package record

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestRecordJSON(t *testing.T) {
	text, err := json.Marshal(Flow{
		Protocol: "tcp", Family: "ipv4", Source: FromEBPF, Direction: Outgoing,
		Client:   Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Owner: Owner{PID: 5, Process: "curl", Service: "web"}},
		Server:   Endpoint{Addr: netip.MustParseAddr("192.0.2.1"), Port: 443},
		Counters: Counters{BytesSentByClient: 3, RTOCount: 2, Known: KnowsRTOCount},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"client_ip":"10.0.0.1"`, `"client_process":"curl"`, `"client_service":"web"`,
		`"server_port":443`, `"bytes_sent_by_client":3`, `"tcp_rto_count":2`, `"source":"ebpf"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if strings.Contains(string(text), "tcp_recovery_count") {
		t.Errorf("%s: what the kernel does not count is absent", text)
	}
}

// A counter that is added to the list is in JSON.
func TestAddedCounterIsInJSON(t *testing.T) {
	before := fields
	defer func() { fields = before }()
	fields = append(slices.Clone(fields), Field[Counters]{Name: "tcp_added", Unit: Segment, TCPOnly: true, Of: func(c *Counters) *uint64 { return &c.RcvOOOPack }})
	for protocol, want := range map[string]bool{"tcp": true, "udp": false} {
		text, err := json.Marshal(Flow{Protocol: protocol, Counters: Counters{RcvOOOPack: 7}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), `"tcp_added":7`); got != want {
			t.Errorf("%s: %s", protocol, text)
		}
	}
}

// Every counter is in the list, once.
func TestFieldsAreComplete(t *testing.T) {
	check := func(names []string, pointers []*uint64, of reflect.Value) {
		t.Helper()
		slices.Sort(names)
		if len(slices.Compact(names)) != len(pointers) {
			t.Errorf("names %q are not all different", names)
		}
		numbers := 0
		for i := range of.NumField() {
			if f := of.Field(i); f.Kind() == reflect.Uint64 {
				numbers++
				if !slices.Contains(pointers, f.Addr().Interface().(*uint64)) {
					t.Errorf("%s.%s is not in the list", of.Type(), of.Type().Field(i).Name)
				}
			}
		}
		if numbers != len(pointers) {
			t.Errorf("%s has %d counters, the list %d", of.Type(), numbers, len(pointers))
		}
	}
	var c Counters
	var names []string
	var pointers []*uint64
	for _, f := range Fields() {
		names, pointers = append(names, f.Name), append(pointers, f.Of(&c))
	}
	check(names, pointers, reflect.ValueOf(&c).Elem())
	var d DNSCounts
	names, pointers = nil, nil
	for _, f := range DNSFields() {
		names, pointers = append(names, f.Name), append(pointers, f.Of(&d))
	}
	check(names, pointers, reflect.ValueOf(&d).Elem())
}
