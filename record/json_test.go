package record

import (
	"encoding/json"
	"net/netip"
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
