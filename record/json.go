package record

import (
	"bytes"
	"encoding/json"
)

// object writes one JSON object, with its members in the order of the calls.
type object struct{ bytes.Buffer }

func (o *object) put(name string, value any) {
	if o.Len() > 0 {
		o.WriteByte(',')
	}
	text, err := json.Marshal(value)
	if err != nil { // cannot happen with the values in this file
		text = []byte("null")
	}
	o.WriteByte('"')
	o.WriteString(name) // no name in this file needs escaping
	o.WriteString(`":`)
	o.Write(text)
}

func (o *object) putNonEmpty(name, value string) {
	if value != "" {
		o.put(name, value)
	}
}

func (o *object) close() ([]byte, error) {
	return append(append([]byte{'{'}, o.Bytes()...), '}'), nil
}

func (o *object) putEndpoint(side string, e *Endpoint) {
	ip := ""
	if e.Addr.IsValid() {
		ip = e.Addr.String()
	}
	o.put(side+"_ip", ip)
	o.put(side+"_port", e.Port)
	o.put(side+"_pid", e.Owner.PID)
	o.put(side+"_process", e.Owner.Process)
	o.put(side+"_service", e.Owner.Service)
	o.put(side+"_container_id", e.Owner.ContainerID)
	o.putNonEmpty(side+"_pod_uid", e.Owner.PodUID)
}

// MarshalJSON returns one flat object. A record of UDP does not have the counters of TCP. Optional counters are left out if
// they are not known.
func (r Flow) MarshalJSON() ([]byte, error) {
	var o object
	o.put("protocol", r.Protocol)
	o.put("family", r.Family)
	o.put("source", r.Source)
	o.put("direction", r.Direction)
	o.putEndpoint("client", &r.Client)
	o.putEndpoint("server", &r.Server)
	o.putNonEmpty("server_domain", r.ServerDomain)
	for _, f := range fields {
		switch {
		case f.TCPOnly && r.Protocol != "tcp", f.Optional&^r.Known != 0:
		case f.Part:
			if f.Name == "rtt_sum" {
				o.put("rtt_micro_seconds", r.RTTMicroSeconds())
			}
		default:
			o.put(f.Name, *f.Of(&r.Counters))
		}
	}
	return o.close()
}

// percentiles are those of a latency, in microseconds.
type percentiles struct {
	P50 uint64 `json:"p50"`
	P75 uint64 `json:"p75"`
	P95 uint64 `json:"p95"`
	P99 uint64 `json:"p99"`
	Max uint64 `json:"max"`
}

func (o *object) putLatency(name string, l *Latency) {
	if l.Count() > 0 {
		o.put(name, percentiles{l.Percentile(50), l.Percentile(75), l.Percentile(95), l.Percentile(99), l.Percentile(100)})
	}
}

// MarshalJSON returns one object. It is flat, except for the percentiles of latencies, in microseconds.
func (r DNS) MarshalJSON() ([]byte, error) {
	var o object
	o.put("protocol", r.Protocol)
	o.putEndpoint("client", &r.Client)
	o.putEndpoint("server", &r.Server)
	o.put("dns_query", r.Name)
	o.put("dns_qtype", r.Type)
	for _, f := range dnsFields {
		o.put(f.Name, *f.Of(&r.DNSCounts))
	}
	o.put("dns_failed_responses", r.FailedResponses())
	o.put("dns_failures", r.Failures())
	o.putLatency("dns_success_latency_percentile", &r.SuccessLatency)
	o.putLatency("dns_failure_latency_percentile", &r.FailureLatency)
	return o.close()
}
