package bpf

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

// Structures that kernel and Go share have no padding: the bytes of a padding in a key would be undefined.
func TestSharedTypesHaveNoHoles(t *testing.T) {
	for _, tc := range []struct {
		name  string
		value any
		size  uintptr
	}{
		{"flow_key", FlowsFlowKey{}, unsafe.Sizeof(FlowsFlowKey{})},
		{"flow", FlowsFlow{}, unsafe.Sizeof(FlowsFlow{})},
		{"tracked", FlowsTracked{}, unsafe.Sizeof(FlowsTracked{})},
		{"handshake", FlowsHandshake{}, unsafe.Sizeof(FlowsHandshake{})},
		{"visit", FlowsVisit{}, unsafe.Sizeof(FlowsVisit{})},
		{"tuple", UdpTuple{}, unsafe.Sizeof(UdpTuple{})},
		{"conntrack entry", UdpConntrackEntry{}, unsafe.Sizeof(UdpConntrackEntry{})},
		{"udp_socket", UdpUdpSocket{}, unsafe.Sizeof(UdpUdpSocket{})},
		{"dns_packet", UdpDnsPacket{}, unsafe.Sizeof(UdpDnsPacket{})},
	} {
		if n := binary.Size(tc.value); n != int(tc.size) {
			t.Errorf("%s: %d bytes of fields in %d", tc.name, n, tc.size)
		}
	}
}

func TestObjectsHoldThePrograms(t *testing.T) {
	for _, object := range []struct {
		load     func() (*ebpf.CollectionSpec, error)
		programs []string
	}{
		{LoadFlows, []string{
			FlowsProgSocketOpened, FlowsProgSocketChanged, FlowsProgSocketChangedAgain, FlowsProgWalkStorage,
			FlowsProgWalkTcp, FlowsProgWalkFiles, FlowsProgVisitSocket, FlowsProgSeedFiles, FlowsProgSeedTcp,
		}},
		{LoadUdp, []string{UdpProgUdpSocketMade, UdpProgPacketSent, UdpProgPacketReceived, UdpProgSeedUdpFiles}},
	} {
		spec, err := object.load()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range object.programs {
			if spec.Programs[name] == nil || spec.Programs[name].License != "Dual MIT/GPL" {
				t.Errorf("program %s is missing or of another licence", name)
			}
		}
	}
}
